"""`torch_utils.ops.filtered_lrelu` of stylegan3."""

from collections.abc import Sequence

import torch

from fastgan import ops
from fastgan.compat._impl import chosen


def filtered_lrelu(
    x: torch.Tensor,
    fu: torch.Tensor | None = None,
    fd: torch.Tensor | None = None,
    b: torch.Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    gain: float = 2**0.5,
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
    impl: str = "cuda",
) -> torch.Tensor:
    """`fastgan.ops.filtered_lrelu`."""
    with chosen("filtered_lrelu", impl):
        return ops.filtered_lrelu(x, fu, fd, b, up, down, padding, gain, slope, clamp, flip_filter)
