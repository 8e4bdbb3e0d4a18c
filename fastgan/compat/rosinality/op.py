"""`op`: fused_leaky_relu and upfirdn2d as rosinality's code calls them.

Against NVIDIA's: `upfirdn2d` takes a 2-D kernel and no gain, and a pair as `pad` is (before, after)
on both axes, where theirs is (x, y). `negative_slope` is honoured on a CPU.
"""

from collections.abc import Sequence

import torch

from fastgan import nn, ops
from fastgan.compat.nvlabs import conv2d_gradfix


def fused_leaky_relu(
    input: torch.Tensor,
    bias: torch.Tensor | None = None,
    negative_slope: float = 0.2,
    scale: float = 2**0.5,
) -> torch.Tensor:
    """scale · lrelu(input + bias), bias along dimension 1; input of two dimensions or more."""
    return ops.bias_act(input, bias, act="lrelu", alpha=negative_slope, gain=scale)


class FusedLeakyReLU(nn.FusedLeakyReLU):
    """`fused_leaky_relu` with a ``bias`` [channel] of its own, or none."""

    def __init__(
        self,
        channel: int,
        bias: bool = True,
        negative_slope: float = 0.2,
        scale: float = 2**0.5,
    ) -> None:
        super().__init__(channel, bias, negative_slope, scale)


def upfirdn2d(
    input: torch.Tensor,
    kernel: torch.Tensor,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    pad: Sequence[int] = (0, 0),
) -> torch.Tensor:
    """Zero-insertion, padding, convolution with `kernel` [taps_y, taps_x], decimation.

    `up`, `down`: an int or (x, y). `pad`: (before, after) of both axes, or (x0, x1, y0, y1).
    """
    pads = tuple(pad) * 2 if len(pad) == 2 else tuple(pad)
    return ops.upfirdn2d(input, kernel, up, down, pads)


def upfirdn2d_native(
    input: torch.Tensor,
    kernel: torch.Tensor,
    up_x: int,
    up_y: int,
    down_x: int,
    down_y: int,
    pad_x0: int,
    pad_x1: int,
    pad_y0: int,
    pad_y1: int,
) -> torch.Tensor:
    """`upfirdn2d` with every number by itself."""
    return upfirdn2d(
        input, kernel, (up_x, up_y), (down_x, down_y), (pad_x0, pad_x1, pad_y0, pad_y1)
    )


def make_kernel(k: torch.Tensor | Sequence[float]) -> torch.Tensor:
    """The 2-D kernel of 1-D taps (their outer product), its sum 1."""
    return ops.setup_filter(k, separable=False)


no_weight_gradients = conv2d_gradfix.no_weight_gradients
