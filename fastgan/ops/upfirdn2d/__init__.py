# SPDX-License-Identifier: Apache-2.0
"""upfirdn2d: up-sample by zero insertion, pad or crop, filter, scale, down-sample, in one pass.

For each plane of x [N, C, H, W]:

    1. insert up - 1 zeros after every sample            [H·up_y, W·up_x]
    2. pad (negative: crop), in up-sampled pixels        [H·up_y + y0 + y1, W·up_x + x0 + x1]
    3. convolve with f (flip_filter=True: correlate)     valid positions only
    4. multiply by gain
    5. keep every down-th sample, the first included

    OH = (H·up_y + y0 + y1 - taps_y) // down_y + 1       and likewise OW

It is linear in x, and its adjoint is an upfirdn2d with up and down exchanged and the filter
flipped: derivatives of any order. f is a constant: it takes no gradient. Capturable.
Source: Crochiere & Rabiner, "Multirate Digital Signal Processing" (1983); Karras et al. (2020).
"""

from collections.abc import Sequence

import torch

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._operands import finite_number
from fastgan.ops.upfirdn2d._arguments import (
    centred_down,
    centred_up,
    check_map,
    filter_of,
    padding_of,
    pair_of,
    taps_of,
)
from fastgan.ops.upfirdn2d._definition import output_size, upfirdn2d_op, upfirdn2d_ref

__all__ = ["downsample2d", "filter2d", "setup_filter", "upfirdn2d", "upsample2d"]

_SEPARABLE_FROM_TAPS = 8
_MOST_SAMPLES = 2**31 - 1  # along one axis: kernels count them in 32 bits


def setup_filter(
    f: torch.Tensor | Sequence | float | None,
    device: torch.device | str | None = None,
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1.0,
    separable: bool | None = None,
) -> torch.Tensor:
    """Prepare a filter for `upfirdn2d` and the functions built on it.

    Args:
        f: taps as a tensor or sequence, [taps] or [taps_y, taps_x]; a number or None is one tap.
        device: where the result lives; None keeps f's.
        normalize: divide by the sum, so that a constant image keeps its value.
        flip_filter: reverse the taps once here.
        gain: overall factor: a 1-D result, which is applied twice, is scaled by √gain.
        separable: keep a 1-D f 1-D (True) or make it its outer product (False); None keeps 8 taps
            or more 1-D, where two passes are cheaper.

    Returns:
        [taps] or [taps_y, taps_x], float32.

    Raises:
        ValueError: f has another shape or sums to 0 where normalised, separable=True with a 2-D f,
            or gain < 0 with a 1-D result.
    """
    gain = finite_number("setup_filter", "gain", gain)
    f = torch.as_tensor(1.0 if f is None else f, dtype=torch.float32, device=device)
    if f.dim() > 2 or f.numel() == 0:
        raise ValueError(
            f"setup_filter: f must be a number, [taps] or [taps_y, taps_x], got {tuple(f.shape)}"
        )
    if f.dim() == 0:
        f = f.reshape(1)
    if separable is None:
        separable = f.dim() == 1 and f.numel() >= _SEPARABLE_FROM_TAPS
    if f.dim() == 1 and not separable:
        f = f.outer(f)
    if separable and f.dim() == 2:
        raise ValueError(
            "setup_filter: separable=True needs a 1-D f, got shape "
            f"{tuple(f.shape)}; pass the taps of one axis"
        )
    if normalize:
        total = f.sum()
        words = "setup_filter: the taps sum to 0; pass normalize=False"
        if torch.compiler.is_compiling():  # where a branch on a value would break the graph
            torch._assert_async(total != 0, words)
        elif not f.is_meta and not bool(total):
            raise ValueError(words)
        f = f / total
    if flip_filter:
        f = f.flip(list(range(f.dim())))
    if gain < 0 and f.dim() == 1:
        raise ValueError(
            "setup_filter: a separable filter cannot have a gain < 0; pass it to the op"
        )
    return f * gain ** (f.dim() / 2)


def _named(op, x, up, padding):
    return f"{op}: x of {x.shape[2]}×{x.shape[3]} with up {up}, padding {padding}"


def _run(op, x, f, up, down, padding, flip_filter, gain):
    """`f`, `up`, `down`, `padding` are validated; checks the sizes that they make together."""
    gain = finite_number(op, "gain", gain)
    options, (fh, fw), (x0, x1, y0, y1) = (*up, *down, *padding), taps_of(f), padding
    width = x.shape[3] * up[0] + abs(x0) + abs(x1) + fw
    height = x.shape[2] * up[1] + abs(y0) + abs(y1) + fh
    if width > _MOST_SAMPLES or height > _MOST_SAMPLES:
        raise ValueError(
            f"{_named(op, x, up, padding)} spans {height}×{width} samples with the filter, "
            f"expected at most {_MOST_SAMPLES} along each axis; split x or pad less"
        )
    if any(size < 1 for size in output_size(x, f, *options)):
        raise ValueError(
            f"{_named(op, x, up, padding)} is smaller than the {fh}×{fw} filter; pad more"
        )
    if reference_is_forced():
        return upfirdn2d_ref(x, f, *options, flip_filter, gain)
    return upfirdn2d_op(x, f, *options, flip_filter, gain)


def upfirdn2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """Up-sample by zero insertion, pad or crop, filter, scale and down-sample planes, in one pass.

    The steps stand at the top of fastgan/ops/upfirdn2d/__init__.py. Derivatives of any order;
    capturable in a CUDA graph.

    Args:
        x: [N, C, H, W], float64, float32, bfloat16 or float16; any strides.
        f: [taps] (separable) or [taps_y, taps_x] from `setup_filter`; None is one tap of 1. Takes
            no gradient.
        up: zero-insertion factor, an int or [x, y].
        down: decimation factor, an int or [x, y].
        padding: an int, [x, y] or [x0, x1, y0, y1], in up-sampled pixels; negative crops.
        flip_filter: False convolves, True correlates.
        gain: overall factor, applied once; may be negative.

    Returns:
        [N, C, OH, OW], x.dtype, channels_last where x is, else contiguous.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: an argument does not fit, or x with its padding is smaller than the filter.

    Example:
        f = fastgan.ops.setup_filter([1, 3, 3, 1])
        y = fastgan.ops.upfirdn2d(torch.randn(1, 3, 8, 8), f, up=2, padding=[2, 1], gain=4)
    """
    check_map("upfirdn2d", x)
    f = filter_of("upfirdn2d", f, x)
    up, down = pair_of("upfirdn2d", "up", up), pair_of("upfirdn2d", "down", down)
    return _run("upfirdn2d", x, f, up, down, padding_of("upfirdn2d", padding), flip_filter, gain)


def filter2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """Filter x to the same size.

    An `upfirdn2d` with centred padding; the centre of an even filter is half a pixel to the left of
    its middle. Derivatives of any order.

    Args:
        x: [N, C, H, W], float64, float32, bfloat16 or float16; any strides.
        f: [taps] (separable) or [taps_y, taps_x] from `setup_filter`; None is one tap of 1. Takes
            no gradient.
        padding: an int, [x, y] or [x0, x1, y0, y1], added to the output's size; negative crops.
        flip_filter: False convolves, True correlates.
        gain: overall factor, applied once; may be negative.

    Returns:
        [N, C, H, W] (plus padding), x.dtype, channels_last where x is, else contiguous.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: an argument does not fit, or x with its padding is smaller than the filter.
    """
    check_map("filter2d", x)
    f = filter_of("filter2d", f, x)
    pads = centred_up(padding_of("filter2d", padding), taps_of(f), 1, 1)
    return _run("filter2d", x, f, (1, 1), (1, 1), pads, flip_filter, gain)


def upsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    up: int | Sequence[int] = 2,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """Up-sample x by an integer factor with a filter, keeping its mean.

    An `upfirdn2d` with centred padding and up_x·up_y times the gain. Derivatives of any order.

    Args:
        x: [N, C, H, W], float64, float32, bfloat16 or float16; any strides.
        f: [taps] (separable) or [taps_y, taps_x] from `setup_filter`; None is one tap of 1. Takes
            no gradient.
        up: factor, an int or [x, y].
        padding: an int, [x, y] or [x0, x1, y0, y1], added in up-sampled pixels; negative crops.
        flip_filter: False convolves, True correlates.
        gain: overall factor, applied once; may be negative.

    Returns:
        [N, C, H·up_y, W·up_x] (plus padding), x.dtype, channels_last where x is, else contiguous.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: an argument does not fit, or x with its padding is smaller than the filter.
    """
    check_map("upsample2d", x)
    f = filter_of("upsample2d", f, x)
    ux, uy = pair_of("upsample2d", "up", up)
    pads = centred_up(padding_of("upsample2d", padding), taps_of(f), ux, uy)
    gain = finite_number("upsample2d", "gain", gain) * ux * uy
    return _run("upsample2d", x, f, (ux, uy), (1, 1), pads, flip_filter, gain)


def downsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    down: int | Sequence[int] = 2,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """Down-sample x by an integer factor with a filter.

    An `upfirdn2d` with centred padding. H and W that the factor does not divide are rounded down.
    Derivatives of any order.

    Args:
        x: [N, C, H, W], float64, float32, bfloat16 or float16; any strides.
        f: [taps] (separable) or [taps_y, taps_x] from `setup_filter`; None is one tap of 1. Takes
            no gradient.
        down: factor, an int or [x, y].
        padding: an int, [x, y] or [x0, x1, y0, y1], added in input pixels; negative crops.
        flip_filter: False convolves, True correlates.
        gain: overall factor, applied once; may be negative.

    Returns:
        [N, C, H // down_y, W // down_x] (with padding 0), x.dtype, channels_last where x is, else
        contiguous.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: an argument does not fit, or x with its padding is smaller than the filter.
    """
    check_map("downsample2d", x)
    f = filter_of("downsample2d", f, x)
    dx, dy = pair_of("downsample2d", "down", down)
    pads = centred_down(padding_of("downsample2d", padding), taps_of(f), dx, dy)
    return _run("downsample2d", x, f, (1, 1), (dx, dy), pads, flip_filter, gain)
