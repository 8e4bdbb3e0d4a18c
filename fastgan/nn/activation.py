# SPDX-License-Identifier: Apache-2.0
"""Bias and leaky ReLU in one pass."""

import torch
from torch import nn

from fastgan.nn._shapes import check_at_least_one
from fastgan.ops import bias_act


class FusedLeakyReLU(nn.Module):
    """Bias and leaky ReLU in one pass: y = scale · lrelu(x + b).

    lrelu(v) = v where v > 0, else negative_slope · v.

    ``forward`` takes x [N, channels, ...] of at least 2 dimensions, and gives y of the same shape,
    dtype and memory format. It raises ValueError when x.shape[1] is not ``channels``.

    Args:
        channels: size of dimension 1, at least 1.
        bias: whether there is a parameter ``bias`` [channels], which starts at 0.
        negative_slope: slope below 0.
        scale: what the result is multiplied by; sqrt(2), the default, keeps the second moment of a
            unit normal x near 1 (He et al. 2015).

    Raises:
        ValueError: for channels below 1.
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
