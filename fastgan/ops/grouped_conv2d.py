# SPDX-License-Identifier: Apache-2.0
"""grouped_conv2d: 3×3 convolution of stride 1 in groups of channels by Winograd's F(4×4, 3×3).

    y[n, k, i, j] = Σ_c Σ_r Σ_s x[n, g·C/G + c, i + r - py, j + s - px] · w[k, c, r, s]

with g = k // (K/G) and c from 0 to C/G - 1. x [N, C, H, W], w [K, C/G, 3, 3] → y
[N, K, H + 2·py - 2, W + 2·px - 2], paddings 0, 1 or 2. The same as
torch.nn.functional.conv2d(groups=G); per tile of 4×4 outputs it multiplies 36 times where that
takes 144. `winograd_conv2d` holds the formulas; its kernels, made for wide products, would spend
their time on the short ones of a group. Here one group or more make one vector of outputs.

Kernels take float32 (and float64, slowly, so that derivatives can be checked), any strides, any
G that divides C and K, and compute in channels_last: an x in another layout is copied. y and dw are
channels_last where x is, else contiguous. The result has the same bits for any number of threads.
Derivatives: any order; both ops are each other's derivatives.
Errors: up to LARGEST_ERROR · eps · Σ|x||w|, where direct summation has 1 to 3. A NaN or an infinity
reaches the whole of its tile, and the groups that share a vector with its own.
There is no CUDA kernel: cuDNN has it. `fastgan.ops.conv2d` chooses; call that.
Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4.
"""

import torch
import torch.nn.functional as F

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op, gradient_is_wanted
from fastgan.ops._layout import dense_format
from fastgan.ops._winograd_checks import checked_padding

__all__ = ["grouped_conv2d"]

# Largest error of (y, dx, dw) over standard normal maps 64×16×16 in groups of so many channels, in
# units of eps · Σ|x||w|.
LARGEST_ERROR: dict[int, tuple[float, float, float]] = {
    8: (13.0, 15.4, 3.3),
    16: (9.2, 9.6, 3.4),
    32: (8.7, 8.4, 3.4),
}


def grouped_conv2d_ref(
    x: torch.Tensor, w: torch.Tensor, groups: int, pad_y: int, pad_x: int, transposed: bool
) -> torch.Tensor:
    """The definition of `fastgan.ops.grouped_conv2d` in differentiable PyTorch.

    Args:
        x: [N, C, H, W].
        w: [K, C / groups, 3, 3]; where transposed, [C, K / groups, 3, 3].
        groups: divides C and K.
        pad_y: zeros above and below.
        pad_x: zeros on the left and on the right.
        transposed: compute the adjoint in x.

    Returns:
        [N, K, OH, OW].
    """
    run = F.conv_transpose2d if transposed else F.conv2d
    return run(x, w, padding=(pad_y, pad_x), groups=groups)


def grouped_conv2d_weight_ref(
    x: torch.Tensor, dy: torch.Tensor, groups: int, pad_y: int, pad_x: int
) -> torch.Tensor:
    """The gradient of w, [K, C/G, 3, 3]: of each group, x convolved with dy over samples."""
    parts = [
        F.conv2d(a.transpose(0, 1), b.transpose(0, 1), padding=(pad_y, pad_x)).transpose(0, 1)
        for a, b in zip(x.chunk(groups, 1), dy.chunk(groups, 1), strict=True)
    ]
    return torch.cat(parts)


def _forward(x, w, groups, pad_y, pad_x, transposed):
    if x.numel() == 0:  # torch's transposed convolution does not take it
        return _fake(x, w, groups, pad_y, pad_x, transposed).zero_()
    y = grouped_conv2d_ref(x, w, groups, pad_y, pad_x, transposed)
    return y.contiguous(memory_format=dense_format(x))


def _fake(x, w, groups, pad_y, pad_x, transposed):
    k = w.shape[1] * groups if transposed else w.shape[0]
    pads = (2 - pad_y, 2 - pad_x) if transposed else (pad_y, pad_x)
    size = (x.shape[0], k, x.shape[2] + 2 * pads[0] - 2, x.shape[3] + 2 * pads[1] - 2)
    return x.new_empty(size).contiguous(memory_format=dense_format(x))


def _setup(ctx, inputs, output):
    x, w, *ctx.options = inputs
    ctx.save_for_backward(x, w)


def _backward(ctx, dy):
    x, w = ctx.saved_tensors
    *geometry, transposed = ctx.options
    dx = dw = None
    if gradient_is_wanted(ctx, 0):
        dx = _op(dy, w, *geometry, not transposed)
    if gradient_is_wanted(ctx, 1):
        pair = (dy, x) if transposed else (x, dy)
        dw = _weight_op(*pair, *geometry)
    return dx, dw, None, None, None, None


def _weight_forward(x, dy, groups, pad_y, pad_x):
    if 0 in (*x.shape, *dy.shape):  # a convolution with an empty kernel
        return _weight_fake(x, dy, groups, pad_y, pad_x).zero_()
    dw = grouped_conv2d_weight_ref(x, dy, groups, pad_y, pad_x)
    return dw.contiguous(memory_format=dense_format(x))


def _weight_fake(x, dy, groups, pad_y, pad_x):
    dw = x.new_empty(dy.shape[1], x.shape[1] // groups, 3, 3)
    return dw.contiguous(memory_format=dense_format(x))


def _weight_setup(ctx, inputs, output):
    x, dy, *ctx.options = inputs
    ctx.save_for_backward(x, dy)


def _weight_backward(ctx, ddw):
    x, dy = ctx.saved_tensors
    dx = _op(dy, ddw, *ctx.options, True) if gradient_is_wanted(ctx, 0) else None
    ddy = _op(x, ddw, *ctx.options, False) if gradient_is_wanted(ctx, 1) else None
    return dx, ddy, None, None, None


_op = define_op(
    "grouped_conv2d(Tensor x, Tensor w, int groups, int pad_y, int pad_x, bool transposed) "
    "-> Tensor",
    reference=_forward,
    fake=_fake,
    backward=_backward,
    setup_context=_setup,
)
_weight_op = define_op(
    "grouped_conv2d_weight(Tensor x, Tensor dy, int groups, int pad_y, int pad_x) -> Tensor",
    reference=_weight_forward,
    fake=_weight_fake,
    backward=_weight_backward,
    setup_context=_weight_setup,
)


def grouped_conv2d(
    x: torch.Tensor, w: torch.Tensor, groups: int, padding: int | tuple[int, int] = 1
) -> torch.Tensor:
    """3×3 convolution of stride 1 in groups of channels by Winograd's algorithm, faster or not.

    As torch.nn.functional.conv2d(x, w, padding=padding, groups=groups), up to rounding (see the top
    of fastgan/ops/grouped_conv2d.py). `conv2d` chooses between the two and takes every dtype: call
    that. Derivatives of any order; capturable in a CUDA graph, where it is PyTorch's convolution.

    Args:
        x: [N, C, H, W], float32 (or float64, slowly); bfloat16 and float16 are refused. Any
            strides.
        w: [K, C / groups, 3, 3], of x's dtype.
        groups: divides C and K, both of which are at least 1.
        padding: 0, 1 or 2 zeros on every side, or a pair (y, x).

    Returns:
        [N, K, H + 2·py - 2, W + 2·px - 2], x.dtype, channels_last where x is, else contiguous.

    Raises:
        TypeError: x and w are not both float32 or both float64.
        ValueError: padding, groups or a shape does not fit.
    """
    pads = checked_padding("grouped_conv2d", x, w, padding, groups)
    run = grouped_conv2d_ref if reference_is_forced() else _op
    return run(x, w, groups, *pads, False)
