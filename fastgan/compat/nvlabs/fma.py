"""`torch_utils.ops.fma`."""

import torch


def fma(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """a·b + c, broadcast."""
    return torch.addcmul(c, a, b)
