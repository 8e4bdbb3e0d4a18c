# SPDX-License-Identifier: Apache-2.0
"""conv2d_resample: a convolution joined with FIR up- and down-sampling, on any padding.

With p = padding + the filter's centring pads, in up-sampled pixels:

    u = upfirdn2d(x, f, up, padding=p, gain=up²)   f only where up > 1
    v = conv(u, w)                                 valid positions; correlation with flip_weight
    y = upfirdn2d(v, f, down=down)                 f only where down > 1

    centring: (t + up - 1) // 2 before and (t - up) // 2 after where up > 1, and as much again
    with (t - down + 1) // 2 and (t - down) // 2 where down > 1; t = taps of that axis

so that padding = k // 2 makes a map of up·H / down. Everything is linear and every output is a sum
over a window of the infinite, zero-padded plane; so the order may change: a strided convolution
after the down-sampling filter, a transposed one before the up-sampling filter, and a 1 × 1 kernel
at the lower resolution. Derivatives of any order. Capturable.
Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), appendix B.
"""

from collections.abc import Sequence

import torch

from fastgan.ops._convolutions.conv2d import conv2d, whole_groups
from fastgan.ops._convolutions.conv_transpose2d import conv_transpose2d
from fastgan.ops._operands import check_count
from fastgan.ops.upfirdn2d import upfirdn2d
from fastgan.ops.upfirdn2d._arguments import centred_down, centred_up, padding_of, taps_of

__all__ = ["conv2d_resample"]


def _correlate(x, w, is_flipped, stride=1, padding=(0, 0), groups=1):
    if not is_flipped and w.shape[2:] != (1, 1):
        w = w.flip((2, 3))
    return conv2d(x, w, stride=stride, padding=padding, groups=groups)


def conv2d_resample_ref(x, w, f, up, down, pads, groups, flip_weight, flip_filter):
    """The definition of `fastgan.ops.conv2d_resample`, in the order of its formulas.

    Arguments are those of `fastgan.ops.conv2d_resample`, but for:

    Args:
        pads: (x0, x1, y0, y1), the padding and the centring pads together.

    Returns:
        As there.
    """
    y = upfirdn2d(x, f if up > 1 else None, up, 1, pads, flip_filter, up**2)
    y = _correlate(y, w, flip_weight, groups=groups)
    return upfirdn2d(y, f, down=down, flip_filter=flip_filter) if down > 1 else y


def transposed_weight(w, groups):
    """[groups·O, I, kh, kw] as [groups·I, O, kh, kw]."""
    if groups == 1:
        return w.transpose(0, 1)
    return w.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def pads_after(pads, kernel, up):
    """What `pads`, meant for the up-sampled map, are after a full transposed convolution of stride
    `up` with a `kernel` of (height, width)."""
    x0, x1, y0, y1 = pads
    kh, kw = kernel
    return x0 - kw + 1, x1 - kw + up, y0 - kh + 1, y1 - kh + up


def _up_by_transposing(x, w, f, up, pads, groups, flip_weight, flip_filter):
    """The convolution before the filter: full, so that nothing is cut off, then cropped."""
    kh, kw = w.shape[2:]
    if flip_weight:  # a transposed convolution is a true one of the zero-inserted map
        w = w.flip((2, 3))
    y = conv_transpose2d(x, transposed_weight(w, groups), stride=up, groups=groups)
    return upfirdn2d(y, f, 1, 1, pads_after(pads, (kh, kw), up), flip_filter, up**2)


def conv2d_resample(
    x: torch.Tensor,
    w: torch.Tensor,
    f: torch.Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> torch.Tensor:
    """Convolution joined with FIR up- or down-sampling, on any padding.

    The steps stand at the top of fastgan/ops/_convolutions/conv2d_resample.py. Derivatives of any
    order; capturable in a CUDA graph.

    Args:
        x: [N, groups·I, H, W], float64, float32, bfloat16 or float16; any strides.
        w: [groups·O, I, kh, kw], cast to x.dtype.
        f: filter of `setup_filter`, [taps] or [taps_y, taps_x]; None is one tap of 1.
        up: zero-insertion factor of both axes, an int ≥ 1.
        down: decimation factor of both axes, an int ≥ 1.
        padding: an int, [x, y] or [x0, x1, y0, y1], in up-sampled pixels; negative crops.
        groups: as in torch.nn.functional.conv2d.
        flip_weight: True correlates, as PyTorch's convolutions do; False convolves.
        flip_filter: False convolves with f, True correlates.

    Returns:
        [N, groups·O, OH, OW], x.dtype.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: up or down is no int ≥ 1, w does not fit x and groups, or padding or f is wrong.
    """
    is_plain = (
        f is None
        and type(up) is type(down) is type(groups) is int
        and up == down == 1
        and type(padding) is int
        and padding >= 0
    )
    fits = x.dim() == w.dim() == 4 and w.dtype is x.dtype
    if is_plain and flip_weight and fits and x.shape[1] == groups * w.shape[1]:
        return conv2d(x, w, padding=padding, groups=groups)
    for name, factor in (("up", up), ("down", down)):
        check_count("conv2d_resample", name, factor)
    groups = whole_groups("conv2d_resample", groups)
    if x.dim() != 4 or w.dim() != 4 or x.shape[1] != groups * w.shape[1]:
        raise ValueError(
            f"conv2d_resample: w must be [groups·O, {x.shape[1] if x.dim() > 1 else 'C'} / groups, "
            f"kh, kw] for x [N, C, H, W] and groups={groups}, got w {tuple(w.shape)} and x "
            f"{tuple(x.shape)}"
        )
    if w.dtype != x.dtype:
        w = w.to(x.dtype)
    taps = (1, 1) if f is None else taps_of(f)
    pads = padding_of("conv2d_resample", padding)
    if up > 1:
        pads = centred_up(pads, taps, up, up)
    if down > 1:
        pads = centred_down(pads, taps, down, down)
    x0, x1, y0, y1 = pads
    is_pointwise = w.shape[2:] == (1, 1)
    if is_pointwise and down > 1 and up == 1:
        x = upfirdn2d(x, f, 1, down, pads, flip_filter)
        return conv2d(x, w, groups=groups)
    if is_pointwise and up > 1 and down == 1:
        y = conv2d(x, w, groups=groups)
        return upfirdn2d(y, f, up, 1, pads, flip_filter, up**2)
    if down > 1 and up == 1:
        x = upfirdn2d(x, f, 1, 1, pads, flip_filter)
        return _correlate(x, w, flip_weight, stride=down, groups=groups)
    if up > 1:
        y = _up_by_transposing(x, w, f, up, pads, groups, flip_weight, flip_filter)
        return upfirdn2d(y, f, down=down, flip_filter=flip_filter) if down > 1 else y
    if x0 == x1 >= 0 and y0 == y1 >= 0:
        return _correlate(x, w, flip_weight, padding=(y0, x0), groups=groups)
    return conv2d_resample_ref(x, w, f, up, down, pads, groups, flip_weight, flip_filter)
