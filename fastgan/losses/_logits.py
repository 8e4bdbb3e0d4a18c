"""The checks of logits that every objective begins with."""

import torch


def wide_logits(function: str, argument: str, logits: torch.Tensor) -> torch.Tensor:
    """``logits`` in float32 at least; ValueError unless they are floating and not empty."""
    if not logits.is_floating_point() or logits.numel() == 0:
        raise ValueError(
            f"{function}: {argument} must be floating and hold at least one logit, got "
            f"{logits.dtype} of shape {tuple(logits.shape)}; pass D's output before any sigmoid"
        )
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
