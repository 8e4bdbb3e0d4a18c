# SPDX-License-Identifier: Apache-2.0
"""`op`: fused_leaky_relu and upfirdn2d as rosinality's code calls them.

The differences from NVIDIA's: `upfirdn2d` takes a 2-D kernel and no gain, and a pair as `pad` is
(before, after) on both axes, where NVIDIA's is (x, y). `negative_slope` works on a CPU too.
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
    """Compute scale · lrelu(input + bias).

    Args:
        input: [N, C, ...].
        bias: [C], or None.
        negative_slope: slope below 0.
        scale: factor of the result.

    Returns:
        A tensor of input's shape.
    """
    return ops.bias_act(input, bias, act="lrelu", alpha=negative_slope, gain=scale)


class FusedLeakyReLU(nn.FusedLeakyReLU):
    """`fused_leaky_relu` with a ``bias`` [channel] of its own, or none; input [N, channel, ...].

    Args:
        channel: channels of the input.
        bias: whether there is a bias.
        negative_slope: slope below 0.
        scale: factor of the result.
    """

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
    """Insert zeros, pad, convolve with `kernel`, and keep every `down`-th sample.

    Args:
        input: [N, C, H, W].
        kernel: [taps_y, taps_x].
        up: factor of the up-sampling, an int or (x, y).
        down: factor of the down-sampling, an int or (x, y).
        pad: (before, after) of both axes, or (x0, x1, y0, y1).

    Returns:
        [N, C, H_out, W_out].
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
    """`upfirdn2d` with separate numbers for x and y.

    Args:
        input: [N, C, H, W].
        kernel: [taps_y, taps_x].
        up_x: factor of the up-sampling in x.
        up_y: in y.
        down_x: factor of the down-sampling in x.
        down_y: in y.
        pad_x0: padding on the left.
        pad_x1: on the right.
        pad_y0: at the top.
        pad_y1: at the bottom.

    Returns:
        [N, C, H_out, W_out].
    """
    return upfirdn2d(
        input, kernel, (up_x, up_y), (down_x, down_y), (pad_x0, pad_x1, pad_y0, pad_y1)
    )


def make_kernel(k: torch.Tensor | Sequence[float]) -> torch.Tensor:
    """The 2-D kernel of 1-D taps: their outer product, scaled to a sum of 1.

    Args:
        k: taps [taps], or a kernel [taps_y, taps_x].

    Returns:
        float32 [taps_y, taps_x].
    """
    return ops.setup_filter(k, separable=False)


no_weight_gradients = conv2d_gradfix.no_weight_gradients
