"""`mmcv.ops`: the ops of StyleGAN2 and 3 as mmcv names them, on our ops.

2.x follows NVIDIA's semantics with names of its own; 1.x called `upfirdn2d` as rosinality does,
with `pad=` (before, after): both forms are taken. `use_custom_op=False` is the reference.
"""

from collections.abc import Sequence

import torch

from fastgan.compat import nvlabs
from fastgan.compat.rosinality import op

conv2d = nvlabs.conv2d_gradfix.conv2d
conv_transpose2d = nvlabs.conv2d_gradfix.conv_transpose2d
Pair = int | Sequence[int]


def _impl(use_custom_op: bool) -> str:
    return "cuda" if use_custom_op else "ref"


def fused_bias_leakyrelu(
    input: torch.Tensor,
    bias: torch.Tensor | None,
    negative_slope: float = 0.2,
    scale: float = 2**0.5,
) -> torch.Tensor:
    """scale · lrelu(input + bias), bias along dimension 1."""
    return op.fused_leaky_relu(input, bias, negative_slope, scale)


class FusedBiasLeakyReLU(op.FusedLeakyReLU):
    """`fused_bias_leakyrelu` with a ``bias`` [num_channels] of its own."""

    def __init__(
        self, num_channels: int, negative_slope: float = 0.2, scale: float = 2**0.5
    ) -> None:
        super().__init__(num_channels, True, negative_slope, scale)


def bias_act(
    input: torch.Tensor,
    bias: torch.Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    use_custom_op: bool = True,
) -> torch.Tensor:
    """`fastgan.ops.bias_act`."""
    impl = _impl(use_custom_op)
    return nvlabs.bias_act.bias_act(input, bias, dim, act, alpha, gain, clamp, impl)


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
    """`fastgan.ops.upfirdn2d`; with `pad` (and `kernel`), the form of mmcv 1.x."""
    f = filter if kernel is None else kernel
    if pad is not None:
        return op.upfirdn2d(input, f, up, down, pad)
    impl = _impl(use_custom_op)
    return nvlabs.upfirdn2d.upfirdn2d(input, f, up, down, padding, flip_filter, gain, impl)


def filter2d(
    input: torch.Tensor,
    filter: torch.Tensor | None,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1,
    use_custom_op: bool = True,
) -> torch.Tensor:
    """`fastgan.ops.filter2d`."""
    impl = _impl(use_custom_op)
    return nvlabs.upfirdn2d.filter2d(input, filter, padding, flip_filter, gain, impl)


def upsample2d(
    input: torch.Tensor,
    filter: torch.Tensor | None,
    up: Pair = 2,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1,
    use_custom_op: bool = True,
) -> torch.Tensor:
    """`fastgan.ops.upsample2d`."""
    impl = _impl(use_custom_op)
    return nvlabs.upfirdn2d.upsample2d(input, filter, up, padding, flip_filter, gain, impl)


def downsample2d(
    input: torch.Tensor,
    filter: torch.Tensor | None,
    down: Pair = 2,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1,
    use_custom_op: bool = True,
) -> torch.Tensor:
    """`fastgan.ops.downsample2d`."""
    impl = _impl(use_custom_op)
    return nvlabs.upfirdn2d.downsample2d(input, filter, down, padding, flip_filter, gain, impl)


def filtered_lrelu(
    input: torch.Tensor,
    filter_up: torch.Tensor | None = None,
    filter_down: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: Pair = 0,
    gain: float = 2**0.5,
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
    use_custom_op: bool = True,
) -> torch.Tensor:
    """`fastgan.ops.filtered_lrelu`."""
    return nvlabs.filtered_lrelu.filtered_lrelu(
        input, filter_up, filter_down, bias, up, down, padding, gain, slope, clamp, flip_filter,
        _impl(use_custom_op),
    )  # fmt: skip
