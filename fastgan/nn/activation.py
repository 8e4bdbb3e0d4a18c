"""Bias and leaky ReLU in one pass."""

import torch
from torch import nn

from fastgan.nn._shapes import check_at_least_one
from fastgan.ops import bias_act


class FusedLeakyReLU(nn.Module):
    """y = scale · lrelu(x + b), lrelu(v) = v if v > 0 else negative_slope · v

    Shapes: x [N, channels, ...] with at least 2 dimensions -> y of the same shape, dtype and memory
    format. ``bias`` [channels] starts at 0. The default scale sqrt(2) keeps the second moment of a
    unit normal x near 1 (He et al. 2015).

    Errors: ValueError for channels below 1 or when x.shape[1] is not ``channels``.
    """

    def __init__(
        self,
        channels: int,
        bias: bool = True,
        negative_slope: float = 0.2,
        scale: float = 2**0.5,
    ) -> None:
        super().__init__()
        check_at_least_one("FusedLeakyReLU", channels=channels)
        self.channels = channels
        self.negative_slope = negative_slope
        self.scale = scale
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim < 2 or x.shape[1] != self.channels:
            raise ValueError(
                f"FusedLeakyReLU: x must have shape [N, {self.channels}, ...], got "
                f"{tuple(x.shape)}; move the channels to dimension 1"
            )
        return bias_act(x, self.bias, act="lrelu", alpha=self.negative_slope, gain=self.scale)

    def extra_repr(self) -> str:
        return (
            f"{self.channels}, bias={self.bias is not None}, "
            f"negative_slope={self.negative_slope}, scale={self.scale:.6g}"
        )
