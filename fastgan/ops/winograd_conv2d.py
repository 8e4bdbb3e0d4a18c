# SPDX-License-Identifier: Apache-2.0
"""winograd_conv2d: 3×3 convolution of stride 1 by Winograd's F(4×4, 3×3), float32 on a CPU.

    y[n, k, i, j] = Σ_c Σ_r Σ_s x[n, c, i + r - py, j + s - px] · w[k, c, r, s]

x [N, C, H, W], w [K, C, 3, 3] → y [N, K, H + 2·py - 2, W + 2·px - 2], paddings 0, 1 or 2. The same
as torch.nn.functional.conv2d, with 36 products per 4×4 outputs where it takes 144:

    y = Aᵀ[(G w Gᵀ) ⊙ (Bᵀ d B)]A        per tile of 4×4 outputs, d its 6×6 inputs

with A, B and G from the points 0, ±3/4, ±3/2, ∞.
The weight gradient is the adjoint of it, F(3×3, 4×4): dw = Gᵀ[Σ (A dy Aᵀ) ⊙ (Bᵀ d B)]G.
Kernels take float32 (and float64, slowly, so that derivatives can be checked), any strides, and
compute in channels_last: an x in another layout is copied. y and dw are channels_last where x is,
else contiguous. The result has the same bits for any number of threads.
Derivatives: any order; both ops are each other's derivatives.
Errors: up to 7 eps · Σ|x||w| (LARGEST_ERROR), where direct summation has 1 to 3. Memory beside the
result: 10 MiB of transformed weights, and per thread up to 36·36·(1.25·C + 64) elements; for dw
per thread 5 MiB at most, and partial sums of 5 MiB or of the size of dw.
There is no CUDA kernel: cuDNN has its own Winograd. `fastgan.ops.conv2d` chooses; call that.
Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4;
Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution" (2020).
"""

import torch
import torch.nn.functional as F

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op, gradient_is_wanted
from fastgan.ops._layout import dense_format
from fastgan.ops._winograd_checks import checked_padding

__all__ = ["winograd_conv2d"]

# Largest error of (y, dx, dw) over standard normal maps C×16×16, in units of eps · Σ|x||w|. The
# root mean square is 0.54 at 64 channels and 0.20 at 512 (dw: 0.46), three to six times torch's
# (dw: two to three times); the largest error is 1 to 2e-6 of the largest element.
LARGEST_ERROR = {
    64: (6.9, 6.5, 3.7),
    128: (3.5, 3.7, 4.2),
    256: (2.5, 3.3, 4.8),
    512: (2.2, 2.4, 5.4),
}


def winograd_conv2d_ref(
    x: torch.Tensor, w: torch.Tensor, pad_y: int, pad_x: int, transposed: bool
) -> torch.Tensor:
    """The definition of `fastgan.ops.winograd_conv2d` in differentiable PyTorch.

    Args:
        x: [N, C, H, W].
        w: [K, C, 3, 3]; where transposed, [C, K, 3, 3].
        pad_y: zeros above and below.
        pad_x: zeros on the left and on the right.
        transposed: compute the adjoint in x.

    Returns:
        [N, K, OH, OW].
    """
    run = F.conv_transpose2d if transposed else F.conv2d
    return run(x, w, padding=(pad_y, pad_x))


def winograd_conv2d_weight_ref(
    x: torch.Tensor, dy: torch.Tensor, pad_y: int, pad_x: int
) -> torch.Tensor:
    """The gradient of w, [K, C, 3, 3], as the convolution of x with dy over samples and pixels."""
    dw = F.conv2d(x.transpose(0, 1), dy.transpose(0, 1), padding=(pad_y, pad_x))  # [C, K, 3, 3]
    return dw.transpose(0, 1)


def _forward(x, w, pad_y, pad_x, transposed):
    if x.numel() == 0 or w.numel() == 0:  # torch's transposed convolution takes neither
        return _fake(x, w, pad_y, pad_x, transposed).zero_()
    y = winograd_conv2d_ref(x, w, pad_y, pad_x, transposed)
    return y.contiguous(memory_format=dense_format(x))


def _fake(x, w, pad_y, pad_x, transposed):
    pads = (2 - pad_y, 2 - pad_x) if transposed else (pad_y, pad_x)
    size = (x.shape[0], w.shape[1 if transposed else 0], *_output_size(x, pads))
    return x.new_empty(size).contiguous(memory_format=dense_format(x))


def _output_size(x, pads):
    return x.shape[2] + 2 * pads[0] - 2, x.shape[3] + 2 * pads[1] - 2


def _setup(ctx, inputs, output):
    x, w, *ctx.options = inputs
    ctx.save_for_backward(x, w)


def _backward(ctx, dy):
    x, w = ctx.saved_tensors
    pad_y, pad_x, transposed = ctx.options
    dx = dw = None
    if gradient_is_wanted(ctx, 0):
        dx = _op(dy, w, pad_y, pad_x, not transposed)
    if gradient_is_wanted(ctx, 1):
        pair = (dy, x) if transposed else (x, dy)
        dw = _weight_op(*pair, pad_y, pad_x)
    return dx, dw, None, None, None


def _weight_forward(x, dy, pad_y, pad_x):
    if 0 in (*x.shape, *dy.shape):  # a convolution with an empty kernel
        dw = x.new_zeros(dy.shape[1], x.shape[1], 3, 3)
    else:
        dw = winograd_conv2d_weight_ref(x, dy, pad_y, pad_x)
    return dw.contiguous(memory_format=dense_format(x))


def _weight_fake(x, dy, pad_y, pad_x):
    dw = x.new_empty(dy.shape[1], x.shape[1], 3, 3)
    return dw.contiguous(memory_format=dense_format(x))


def _weight_setup(ctx, inputs, output):
    x, dy, *ctx.options = inputs
    ctx.save_for_backward(x, dy)


def _weight_backward(ctx, ddw):
    x, dy = ctx.saved_tensors
    dx = _op(dy, ddw, *ctx.options, True) if gradient_is_wanted(ctx, 0) else None
    ddy = _op(x, ddw, *ctx.options, False) if gradient_is_wanted(ctx, 1) else None
    return dx, ddy, None, None


_op = define_op(
    "winograd_conv2d(Tensor x, Tensor w, int pad_y, int pad_x, bool transposed) -> Tensor",
    reference=_forward,
    fake=_fake,
    backward=_backward,
    setup_context=_setup,
)
_weight_op = define_op(
    "winograd_conv2d_weight(Tensor x, Tensor dy, int pad_y, int pad_x) -> Tensor",
    reference=_weight_forward,
    fake=_weight_fake,
    backward=_weight_backward,
    setup_context=_weight_setup,
)


def winograd_conv2d(
    x: torch.Tensor, w: torch.Tensor, padding: int | tuple[int, int] = 1
) -> torch.Tensor:
    """3×3 convolution of stride 1 by Winograd's algorithm, faster or not.

    As torch.nn.functional.conv2d(x, w, padding=padding), up to rounding (see the top of
    fastgan/ops/winograd_conv2d.py). `conv2d` chooses between the two and takes every dtype: call
    that. Derivatives of any order; capturable in a CUDA graph, where it is PyTorch's convolution.

    Args:
        x: [N, C, H, W], float32 (or float64, slowly); bfloat16 and float16 are refused. Any
            strides.
        w: [K, C, 3, 3], of x's dtype.
        padding: 0, 1 or 2 zeros on every side, or a pair (y, x).

    Returns:
        [N, K, H + 2·py - 2, W + 2·px - 2], x.dtype, channels_last where x is, else contiguous.

    Raises:
        TypeError: x and w are not both float32 or both float64.
        ValueError: padding or a shape does not fit.
    """
    pads = checked_padding("winograd_conv2d", x, w, padding)
    run = winograd_conv2d_ref if reference_is_forced() else _op
    return run(x, w, *pads, False)
