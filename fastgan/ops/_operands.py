"""The dtypes that the ops take and compute in, and two checks that most of them make."""

import torch


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """What sums and products of x run in: float64 for float64, float32 for all else."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def check_floating(op: str, name: str, t: torch.Tensor) -> None:
    """TypeError where `t` is of integers, bool or complex."""
    if not t.is_floating_point():
        raise TypeError(
            f"{op}: {name} must be float64, float32, bfloat16 or float16, got {t.dtype}; cast it"
        )


def check_device(op: str, name: str, t: torch.Tensor, x: torch.Tensor, like: str = "x") -> None:
    """ValueError where `t` is not where `x`, which the op's user knows as `like`, is."""
    if t.device != x.device:
        raise ValueError(f"{op}: {name} must be on {x.device} like {like}, got {t.device}; move it")
