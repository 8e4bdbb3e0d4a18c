# SPDX-License-Identifier: Apache-2.0
"""filtered_lrelu: StyleGAN3's activation between an up- and a down-sampling filter, in one pass.

    u = x + b                                     b runs along dimension 1
    v = upfirdn2d(u, fu, up, padding, gain=up²)   zeros inserted, padded in up-sampled pixels
    w = clamp(gain · lrelu(v, slope), ±clamp)     clamp after gain
    y = upfirdn2d(w, fd, down=down)               valid positions only, every down-th kept

In a kernel v and w, up² as large as x, exist on the chip only, sums are float32 (float64 for
float64) and y is rounded once; plain PyTorch has the maps in memory and rounds each. Where a
gradient is wanted two bits are kept of each v, which say whether dw/dv is gain, gain·slope or 0
(`SlopeCode` in csrc/ops/filtered_lrelu): up²/4 bytes per element of x. x is not kept. With U and D
the two filters and m = dw/dv, which is constant but for kinks:

    dx = Uᵀ(m · Dᵀ(dy))      db = its sum        gradient of dy in that:  D(m · U(ddx))

so derivatives of any order are one op, `filtered_lrelu_masked`, whose adjoint is itself with the
filters exchanged. Capturable.
Source: Karras et al., "Alias-Free Generative Adversarial Networks" (2021), section 3.2.
"""

from collections.abc import Sequence

import torch

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op, gradient_is_wanted
from fastgan.ops._layout import dense_format
from fastgan.ops._operands import check_count, check_floating, clamp_bound, finite_number
from fastgan.ops.bias_act import bias_act
from fastgan.ops.upfirdn2d import upfirdn2d
from fastgan.ops.upfirdn2d._arguments import check_map, filter_of, padding_of, taps_of

__all__ = ["filtered_lrelu"]


def filtered_lrelu_ref(
    x, fu, fd, b, up, down, x0, x1, y0, y1, gain, slope, clamp, flip_filter
):  # fmt: skip
    """The definition of `fastgan.ops.filtered_lrelu` in differentiable PyTorch.

    Arguments are those of `fastgan.ops.filtered_lrelu`, all given, with `padding` as x0, x1, y0,
    y1.

    Returns:
        [N, C, OH, OW], x.dtype.
    """
    w = _activated(x, fu, b, up, x0, x1, y0, y1, gain, slope, clamp, flip_filter)[1]
    return upfirdn2d(w, fd, 1, down, 0, flip_filter)


def _activated(x, fu, b, up, x0, x1, y0, y1, gain, slope, clamp, flip_filter):
    """(v, w)"""
    u = x if b is None else bias_act(x, b)
    v = upfirdn2d(u, fu, up, 1, [x0, x1, y0, y1], flip_filter, up**2)
    return v, bias_act(v, act="lrelu", alpha=slope, gain=gain, clamp=clamp)


def _wide_size(x, fu, up, x0, x1, y0, y1):
    """(height, width) of v."""
    fh, fw = taps_of(fu)
    return x.shape[2] * up + y0 + y1 - fh + 1, x.shape[3] * up + x0 + x1 - fw + 1


def _out_size(x, fu, fd, up, down, *pads):
    sizes = zip(_wide_size(x, fu, up, *pads), taps_of(fd), strict=True)
    return tuple((size - taps) // down + 1 for size, taps in sizes)


def _needed(size, fd, down):
    """(height, width) of those v that an output of `size` needs."""
    return tuple((s - 1) * down + taps for s, taps in zip(size, taps_of(fd), strict=True))


def _packed(codes):
    """Four codes [N, C, H, W] to a byte, the first in the lowest bits: [N, C, H, ceil(W / 4)]."""
    width = (codes.shape[3] + 3) // 4 * 4
    codes = torch.nn.functional.pad(codes, [0, width - codes.shape[3]])
    return sum(codes[..., k::4] << 2 * k for k in range(4))


def _slope_factors(signs, slope, rows, columns, like):
    """1, slope or 0 for rows and columns (first, count) of the codes, 0 outside of them."""
    codes = torch.stack([signs >> 2 * k & 3 for k in range(4)], -1).flatten(3)
    table = torch.tensor([1.0, slope, 0.0, 0.0], dtype=like.dtype, device=like.device)
    factors = table[codes.long()]
    pads = []
    for (first, count), size in ((columns, factors.shape[3]), (rows, factors.shape[2])):
        pads += [-first, first + count - size]  # negative ones crop
    return torch.nn.functional.pad(factors, pads)


def _forward(x, fu, fd, b, up, down, x0, x1, y0, y1, gain, slope, clamp, flip_filter, keeps_signs):
    v, w = _activated(x, fu, b, up, x0, x1, y0, y1, gain, slope, clamp, flip_filter)
    y = upfirdn2d(w, fd, 1, down, 0, flip_filter).contiguous(memory_format=dense_format(x))
    if not keeps_signs:
        return y, x.new_empty(0, dtype=torch.uint8)
    codes = (~(v > 0)).byte()
    if clamp is not None:
        codes = codes.masked_fill(w.abs() >= clamp, 2)
    height, width = _needed(y.shape[2:], fd, down)
    return y, _packed(codes[:, :, :height, :width].contiguous())


def _fake(x, fu, fd, b, up, down, x0, x1, y0, y1, gain, slope, clamp, flip_filter, keeps_signs):
    size = _out_size(x, fu, fd, up, down, x0, x1, y0, y1)
    y = torch.empty(
        (*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=dense_format(x)
    )
    height, width = _needed(size, fd, down)
    signs = (*x.shape[:2], height, (width + 3) // 4) if keeps_signs else (0,)
    return y, x.new_empty(signs, dtype=torch.uint8)


def _setup(ctx, inputs, output):
    x, fu, fd, b, *options = inputs
    ctx.set_materialize_grads(False)
    ctx.options, ctx.size = options, x.shape[2:]
    ctx.bias_dtype = None if b is None else b.dtype
    ctx.save_for_backward(fu, fd, output[1])


def _backward(ctx, dy, _):
    nones = (None,) * 11
    if dy is None:
        return None, None, None, None, *nones
    fu, fd, signs = ctx.saved_tensors
    up, down, x0, _, y0, _, gain, slope, _, flip_filter, _ = ctx.options
    dx = adjoint_of_masked(
        dy, signs, fu, fd, up, down, x0, y0, ctx.size, 0, 0, gain * up**2, slope, flip_filter
    )
    db = None
    if ctx.bias_dtype is not None and gradient_is_wanted(ctx, 3):
        db = dx.sum((0, 2, 3)).to(ctx.bias_dtype)
    return dx, None, None, db, *nones


def adjoint_of_masked(
    dy, signs, fu, fd, up, down, x0, y0, size, sign_x, sign_y, gain, slope, flip_filter
):  # fmt: skip
    """Of `filtered_lrelu_masked` with these options, on a map of `size` = (height, width)."""
    (uh, uw), (dh, dw) = taps_of(fu), taps_of(fd)
    return _masked_op(
        dy,
        signs,
        fd,
        fu,
        down,
        up,
        uw + dw - 2 - x0,
        uh + dh - 2 - y0,
        *size,
        sign_x + x0 - uw + 1,
        sign_y + y0 - uh + 1,
        gain,
        slope,
        not flip_filter,
    )


def _masked_ref(
    x, signs, fu, fd, up, down, x0, y0, height, width, sign_x, sign_y, gain, slope, flip_filter
):  # fmt: skip
    """y = D(m · gain · U(x)): what the two filters make of x with the slopes that `signs` hold.

    [N, C, height, width]; x0, y0: padding before x. The codes of v's first row and column are at
    (sign_y, sign_x).
    """
    (uh, uw), (rows, columns) = taps_of(fu), _needed((height, width), fd, down)
    x1 = columns + uw - 1 - x0 - x.shape[3] * up
    y1 = rows + uh - 1 - y0 - x.shape[2] * up
    v = upfirdn2d(x, fu, up, 1, [x0, x1, y0, y1], flip_filter, gain)
    w = v * _slope_factors(signs, slope, (sign_y, rows), (sign_x, columns), v)
    return upfirdn2d(w, fd, 1, down, 0, flip_filter).contiguous(memory_format=dense_format(x))


def _masked_fake(x, signs, fu, fd, up, down, x0, y0, height, width, *rest):
    shape = (*x.shape[:2], height, width)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=dense_format(x))


def _masked_setup(ctx, inputs, output):
    x, signs, fu, fd, *ctx.options = inputs
    ctx.size = x.shape[2:]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(signs, fu, fd)


def _masked_backward(ctx, dy):
    if dy is None:
        return (None,) * 15
    signs, fu, fd = ctx.saved_tensors
    up, down, x0, y0, _, _, *rest = ctx.options
    return adjoint_of_masked(dy, signs, fu, fd, up, down, x0, y0, ctx.size, *rest), *(None,) * 14


_masked_op = define_op(
    "filtered_lrelu_masked(Tensor x, Tensor signs, Tensor fu, Tensor fd, int up, int down, int x0, "
    "int y0, SymInt height, SymInt width, int sign_x, int sign_y, float gain, float slope, "
    "bool flip_filter) -> Tensor",
    reference=_masked_ref,
    fake=_masked_fake,
    backward=_masked_backward,
    setup_context=_masked_setup,
)
_op = define_op(
    "filtered_lrelu(Tensor x, Tensor fu, Tensor fd, Tensor? b, int up, int down, int x0, int x1, "
    "int y0, int y1, float gain, float slope, float? clamp, bool flip_filter, bool keeps_signs) "
    "-> (Tensor, Tensor)",
    reference=_forward,
    fake=_fake,
    backward=_backward,
    setup_context=_setup,
    definition=lambda *args: (filtered_lrelu_ref(*args[:-1]), None),
)


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
) -> torch.Tensor:
    """Bias, up-sampling filter, leaky ReLU, clamp and down-sampling filter, in one pass.

    The formulas stand at the top of fastgan/ops/filtered_lrelu.py. Derivatives of any order;
    capturable in a CUDA graph.

    Args:
        x: [N, C, H, W], float64, float32, bfloat16 or float16; any strides.
        fu: up-sampling filter, [taps] (separable) or [taps_y, taps_x]; None is one tap of 1.
        fd: down-sampling filter, likewise.
        b: [C], cast to x.dtype; None adds nothing.
        up: zero-insertion factor of both axes, an int ≥ 1.
        down: decimation factor of both axes, an int ≥ 1.
        padding: an int, [x, y] or [x0, x1, y0, y1], in up-sampled pixels; negative crops.
        gain: factor of the activation; the up² of the zeros is applied besides.
        slope: of the leaky ReLU below 0.
        clamp: bound on the activation after the gain; None or a negative number clamps nothing.
        flip_filter: False convolves, True correlates, in both filters.

    Returns:
        [N, C, OH, OW], x.dtype, channels_last where x is, else contiguous; with t the taps,
        OH = (H·up + y0 + y1 - (t_u - 1) - (t_d - 1) + down - 1) // down.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: a factor, a shape, a device or the padding does not fit, or a filter requires a
            gradient.
    """
    for name, factor in (("up", up), ("down", down)):
        check_count("filtered_lrelu", name, factor)
    check_map("filtered_lrelu", x)
    fu, fd = filter_of("filtered_lrelu", fu, x), filter_of("filtered_lrelu", fd, x)
    pads = padding_of("filtered_lrelu", padding)
    if b is not None and (b.shape != x.shape[1:2] or b.device != x.device):
        raise ValueError(
            f"filtered_lrelu: b must have shape ({x.shape[1]},) on {x.device} like x's channels, "
            f"got {tuple(b.shape)} on {b.device}"
        )
    for f, sizes, which in (
        (fu, [s * up + sum(pads[2 - 2 * i : 4 - 2 * i]) for i, s in enumerate(x.shape[2:])], "fu"),
        (fd, _wide_size(x, fu, up, *pads), "fd"),
    ):
        if any(size < taps for size, taps in zip(sizes, taps_of(f), strict=True)):
            raise ValueError(
                f"filtered_lrelu: x of {x.shape[2]}×{x.shape[3]} with up {up}, padding {pads} is "
                f"smaller than the {'×'.join(map(str, taps_of(f)))} filter {which}; pad more"
            )
    if b is not None and b.dtype != x.dtype:
        check_floating("filtered_lrelu", "b", b)
        b = b.to(x.dtype)
    gain = finite_number("filtered_lrelu", "gain", gain)
    slope = finite_number("filtered_lrelu", "slope", slope)
    clamp = clamp_bound("filtered_lrelu", clamp)
    options = (up, down, *pads, gain, slope, clamp, flip_filter)
    if reference_is_forced():
        return filtered_lrelu_ref(x, fu, fd, b, *options)
    wants = x.requires_grad or (b is not None and b.requires_grad)
    return _op(x, fu, fd, b, *options, torch.is_grad_enabled() and wants)[0]
