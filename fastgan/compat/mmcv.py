# SPDX-License-Identifier: Apache-2.0
"""`mmcv.ops`: the ops of StyleGAN2 and 3 as mmcv names them, on our ops.

2.x follows NVIDIA's semantics with names of its own; 1.x called `upfirdn2d` as rosinality does,
with `pad=` (before, after): both forms are accepted. `use_custom_op=False` is the reference.
"""

from collections.abc import Sequence

import torch

from fastgan import ops
from fastgan.compat._forwarding import forwarded
from fastgan.compat.nvlabs.conv2d_gradfix import conv2d, conv_transpose2d
from fastgan.compat.rosinality import op

__all__ = [
    "FusedBiasLeakyReLU",
    "bias_act",
    "conv2d",
    "conv_transpose2d",
    "downsample2d",
    "filter2d",
    "filtered_lrelu",
    "fused_bias_leakyrelu",
    "upfirdn2d",
    "upsample2d",
]

_NAMES = {"x": "input", "b": "bias", "f": "filter", "fu": "filter_up", "fd": "filter_down"}
Pair = int | Sequence[int]

fused_bias_leakyrelu = op.fused_leaky_relu
bias_act = forwarded(ops.bias_act, "use_custom_op", _NAMES)
filter2d = forwarded(ops.filter2d, "use_custom_op", _NAMES)
upsample2d = forwarded(ops.upsample2d, "use_custom_op", _NAMES)
downsample2d = forwarded(ops.downsample2d, "use_custom_op", _NAMES)
filtered_lrelu = forwarded(ops.filtered_lrelu, "use_custom_op", _NAMES)
_upfirdn2d = forwarded(ops.upfirdn2d, "use_custom_op", _NAMES)


class FusedBiasLeakyReLU(op.FusedLeakyReLU):
    """`fused_bias_leakyrelu` with a ``bias`` [num_channels] of its own.

    Args:
        num_channels: channels of the input.
        negative_slope: slope below 0.
        scale: factor of the result.
    """

    def __init__(
        self, num_channels: int, negative_slope: float = 0.2, scale: float = 2**0.5
    ) -> None:
        super().__init__(num_channels, True, negative_slope, scale)


def upfirdn2d(
    input: torch.Tensor,
    filter: torch.Tensor | None = None,
    up: Pair = 1,
    down: Pair = 1,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1,
    use_custom_op: bool = True,
    *,
    kernel: torch.Tensor | None = None,
    pad: Sequence[int] | None = None,
) -> torch.Tensor:
    """`fastgan.ops.upfirdn2d`; with `pad` (and `kernel`), the form of mmcv 1.x.

    The other arguments are those of `fastgan.ops.upfirdn2d`.

    Args:
        input: `x`.
        filter: `f`.
        use_custom_op: True: the native kernel; False: plain PyTorch.
        kernel: another name of `filter`.
        pad: instead of `padding`: (before, after) of both axes, or (x0, x1, y0, y1).
    """
    f = filter if kernel is None else kernel
    if pad is not None:
        return op.upfirdn2d(input, f, up, down, pad)
    return _upfirdn2d(input, f, up, down, padding, flip_filter, gain, use_custom_op)
