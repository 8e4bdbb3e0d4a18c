# SPDX-License-Identifier: Apache-2.0
"""winograd_strided_conv2d: 3×3 or 4×4 convolution of stride 2 and its adjoint, float32 on a CPU.

    y[n, k, i, j] = Σ_c Σ_r Σ_s x[n, c, 2·i + r - py, 2·j + s - px] · w[k, c, r, s]

x [N, C, H, W], w [K, C, s, s] → y [N, K, ⌊(H + 2·py - s) / 2⌋ + 1, ...], paddings 0, 1 or 2. The
same as torch.nn.functional.conv2d of stride 2 (and conv_transpose2d). 3×3 taps take 81 products per
4×4 outputs where the definition has 144. In each dimension the even pixels of x meet two taps, and
the odd ones one tap:

    y = A₁ᵀ[(G [w₀ w₂]) ⊙ (Bᵀ even)] + w₁ odd      F(4, 2): 5 products, and 4

with A, B and G from the points ±1/2, ±5/4, ∞. The adjoint is computed as such, from 4×4 pixels of
dy to 9×9 of dx, of which a row and a column are added to the neighbours' in a pass of their own.
On a processor with AMX (bfloat16 tiles; Linux, FASTGAN_ISA above avx512) float32 is computed by
direct sums instead: each number is split into three bfloat16 parts, and six of their nine products
are summed in float32 (`csrc/common/amx/product.h`). Only there are kernels for 4×4 taps, and
for float32 alone.
Kernels take float32 (and float64, slowly, so that derivatives can be checked), any strides, and
compute in channels_last: an x in another layout is copied. Results are channels_last where x is,
else contiguous. They have the same bits for any number of threads.
Derivatives: any order; the three ops are each other's derivatives.
Errors: up to 4 eps · Σ|x||w| (LARGEST_ERROR), where direct summation has 1 to 3. Memory beside the
result: 10 MiB of transformed weights, and per thread up to 81·24·(1.25·C + 64) elements; for the
adjoint 17 of 64 pixels of its result more; for dw per thread 6 MiB at most, and partial sums. With
AMX errors are up to 1.2 eps · Σ|x||w|, lower parts of numbers below 2⁻¹⁰² are lost, and numbers
from 2¹²⁷ are summed to 2⁻²¹ · Σ|x||w|; memory is 16 MiB of split weights, and per thread 1 MiB, or
what three rows take. Where the definition gives NaN or an infinity, these give one, too, but NaN
for most infinities, and NaN beside it: in the rest of a tile, in other taps of dw. Without AMX sums
in between can reach some 64 times Σ|x||w| or |x|; if they overflow, infinities or NaN come out.
There is no CUDA kernel. `fastgan.ops.conv2d` and `conv_transpose2d` choose; call those.
Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4; the
decomposition by phases is the polyphase one of multirate filters. Henry, Tang & Heinecke,
"Leveraging the bfloat16 Artificial Intelligence Datatype For Higher-Precision Computations" (2019).
"""

import torch
import torch.nn.functional as F

from fastgan.ops._backend import native_module, reference_is_forced
from fastgan.ops._define import define_op, gradient_is_wanted
from fastgan.ops._layout import dense_format
from fastgan.ops._winograd_checks import checked_padding, pair_of_pads

__all__ = ["winograd_strided_conv2d", "winograd_strided_conv_transpose2d"]

# Largest error of (y, dx, dw) over standard normal maps C×33×33, in units of eps · Σ|x||w|.
# The root mean square is 0.08 to 0.33.
LARGEST_ERROR = {
    64: (1.3, 3.4, 2.0),
    128: (1.1, 2.4, 2.9),
    256: (0.8, 2.0, 2.6),
    512: (0.6, 1.3, 3.0),
}
LARGEST_AMX_ERROR = 1.2  # of any of the three


def strided_size(size: int, pad: int, side: int = 3) -> int:
    """Pixels of y for those of x in one dimension, of `side` taps."""
    return (size + 2 * pad - side) // 2 + 1


def winograd_strided_conv2d_ref(
    x: torch.Tensor, w: torch.Tensor, pad_y: int, pad_x: int
) -> torch.Tensor:
    """The definition of `fastgan.ops.winograd_strided_conv2d` in differentiable PyTorch.

    Args:
        x: [N, C, H, W].
        w: [K, C, 3, 3].
        pad_y: zeros above and below.
        pad_x: zeros on the left and on the right.

    Returns:
        [N, K, OH, OW].
    """
    return F.conv2d(x, w, stride=2, padding=(pad_y, pad_x))


def winograd_strided_conv2d_transposed_ref(
    dy: torch.Tensor, w: torch.Tensor, pad_y: int, pad_x: int, h: int, width: int
) -> torch.Tensor:
    """The adjoint of `winograd_strided_conv2d_ref` in x, in differentiable PyTorch.

    Args:
        dy: [N, K, OH, OW].
        w: [K, C, 3, 3].
        pad_y: as there.
        pad_x: as there.
        h: height of x.
        width: width of x.

    Returns:
        [N, C, h, width].
    """
    rest = (
        h + 2 * pad_y - 2 * dy.shape[2] + 2 - w.shape[2],
        width + 2 * pad_x - 2 * dy.shape[3] + 2 - w.shape[3],
    )  # 0 or 1 last pixels that no tap reaches
    return F.conv_transpose2d(dy, w, stride=2, padding=(pad_y, pad_x), output_padding=rest)


def winograd_strided_conv2d_weight_ref(
    x: torch.Tensor, dy: torch.Tensor, pad_y: int, pad_x: int, side: int
) -> torch.Tensor:
    """The gradient of w, [K, C, s, s]: the convolution of x with dy over samples and pixels."""
    dw = F.conv2d(x.transpose(0, 1), dy.transpose(0, 1), padding=(pad_y, pad_x), dilation=2)
    return dw[:, :, :side, :side].transpose(0, 1)


def _forward(x, w, pad_y, pad_x):
    if x.numel() == 0 or w.numel() == 0:
        return _fake(x, w, pad_y, pad_x).zero_()
    y = winograd_strided_conv2d_ref(x, w, pad_y, pad_x)
    return y.contiguous(memory_format=dense_format(x))


def _fake(x, w, pad_y, pad_x):
    side = w.shape[2]
    size = strided_size(x.shape[2], pad_y, side), strided_size(x.shape[3], pad_x, side)
    return _empty(x, x.shape[0], w.shape[0], *size)


def _empty(like, *size):
    return like.new_empty(size).contiguous(memory_format=dense_format(like))


def _setup(ctx, inputs, output):
    x, w, *ctx.pads = inputs
    ctx.save_for_backward(x, w)


def _backward(ctx, dy):
    x, w = ctx.saved_tensors
    dx = dw = None
    if gradient_is_wanted(ctx, 0):
        dx = _transposed_op(dy, w, *ctx.pads, *x.shape[2:])
    if gradient_is_wanted(ctx, 1):
        dw = _weight_op(x, dy, *ctx.pads, w.shape[2])
    return dx, dw, None, None


def _transposed_forward(dy, w, pad_y, pad_x, h, width):
    if dy.numel() == 0 or w.numel() == 0:
        return _transposed_fake(dy, w, pad_y, pad_x, h, width).zero_()
    dx = winograd_strided_conv2d_transposed_ref(dy, w, pad_y, pad_x, h, width)
    return dx.contiguous(memory_format=dense_format(dy))


def _transposed_fake(dy, w, pad_y, pad_x, h, width):
    return _empty(dy, dy.shape[0], w.shape[1], h, width)


def _transposed_setup(ctx, inputs, output):
    dy, w, *options = inputs
    ctx.pads = options[:2]
    ctx.save_for_backward(dy, w)


def _transposed_backward(ctx, ddx):
    dy, w = ctx.saved_tensors
    ddy = _op(ddx, w, *ctx.pads) if gradient_is_wanted(ctx, 0) else None
    dw = _weight_op(ddx, dy, *ctx.pads, w.shape[2]) if gradient_is_wanted(ctx, 1) else None
    return ddy, dw, None, None, None, None


def _weight_forward(x, dy, pad_y, pad_x, side):
    if 0 in (*x.shape, *dy.shape):  # a convolution with an empty kernel
        dw = x.new_zeros(dy.shape[1], x.shape[1], side, side)
    else:
        dw = winograd_strided_conv2d_weight_ref(x, dy, pad_y, pad_x, side)
    return dw.contiguous(memory_format=dense_format(x))


def _weight_fake(x, dy, pad_y, pad_x, side):
    return _empty(x, dy.shape[1], x.shape[1], side, side)


def _weight_setup(ctx, inputs, output):
    x, dy, *ctx.pads, _ = inputs
    ctx.save_for_backward(x, dy)


def _weight_backward(ctx, ddw):
    x, dy = ctx.saved_tensors
    dx = ddy = None
    if gradient_is_wanted(ctx, 0):
        dx = _transposed_op(dy, ddw, *ctx.pads, *x.shape[2:])
    if gradient_is_wanted(ctx, 1):
        ddy = _op(x, ddw, *ctx.pads)
    return dx, ddy, None, None, None


_op = define_op(
    "winograd_strided_conv2d(Tensor x, Tensor w, int pad_y, int pad_x) -> Tensor",
    reference=_forward,
    fake=_fake,
    backward=_backward,
    setup_context=_setup,
)
_transposed_op = define_op(
    "winograd_strided_conv2d_transposed(Tensor dy, Tensor w, int pad_y, int pad_x, SymInt h, "
    "SymInt width) -> Tensor",
    reference=_transposed_forward,
    fake=_transposed_fake,
    backward=_transposed_backward,
    setup_context=_transposed_setup,
)
_weight_op = define_op(
    "winograd_strided_conv2d_weight(Tensor x, Tensor dy, int pad_y, int pad_x, int side) -> Tensor",
    reference=_weight_forward,
    fake=_weight_fake,
    backward=_weight_backward,
    setup_context=_weight_setup,
)


def _sides(x: torch.Tensor) -> tuple[int, ...]:
    """The kernels that there are for maps like x, by their taps in one dimension."""
    if reference_is_forced() or not x.is_cpu or torch.compiler.is_compiling():
        return (3, 4)  # torch.compile can't trace the question; the kernel asks it again
    module = native_module()
    has_amx = module is None or (x.dtype == torch.float32 and module.active_isa() == "amx")
    return (3, 4) if has_amx else (3,)


def winograd_strided_conv2d(
    x: torch.Tensor, w: torch.Tensor, padding: int | tuple[int, int] = 0
) -> torch.Tensor:
    """3×3 or 4×4 convolution of stride 2 by kernels for that, faster than PyTorch's or not.

    As torch.nn.functional.conv2d(x, w, stride=2, padding=padding), up to rounding (see the top of
    fastgan/ops/winograd_strided_conv2d.py). `conv2d` chooses between the two and takes every dtype:
    call that. Derivatives of any order; capturable in a CUDA graph, where it is PyTorch's
    convolution.

    Args:
        x: [N, C, H, W], float32 (or float64, slowly); bfloat16 and float16 are refused. Any
            strides.
        w: [K, C, 3, 3], of x's dtype; or [K, C, 4, 4] of float32, where the kernels use AMX.
        padding: 0, 1 or 2 zeros on every side, or a pair (y, x).

    Returns:
        [N, K, ⌊(H + 2·py - s) / 2⌋ + 1, ...] of s×s taps, x.dtype, channels_last where x is, else
        contiguous.

    Raises:
        TypeError: x and w are not both float32 or both float64.
        ValueError: padding or a shape does not fit, or w is 4×4 without AMX.
    """
    op = "winograd_strided_conv2d"
    pads = checked_padding(op, x, w, padding, sides=_sides(x))
    run = winograd_strided_conv2d_ref if reference_is_forced() else _op
    return run(x, w, *pads)


def winograd_strided_conv_transpose2d(
    x: torch.Tensor,
    w: torch.Tensor,
    padding: int | tuple[int, int] = 0,
    output_padding: int | tuple[int, int] = 0,
) -> torch.Tensor:
    """The adjoint of `winograd_strided_conv2d`, faster than PyTorch's or not.

    As torch.nn.functional.conv_transpose2d(x, w, None, 2, padding, output_padding), up to rounding.
    `conv_transpose2d` chooses between the two and takes every dtype: call that. Derivatives of any
    order; capturable in a CUDA graph, where it is PyTorch's convolution.

    Args:
        x: [N, K, H, W], float32 (or float64, slowly); bfloat16 and float16 are refused. Any
            strides.
        w: [K, C, 3, 3], of x's dtype; or [K, C, 4, 4] of float32, where the kernels use AMX.
        padding: 0, 1 or 2 pixels cropped from every side, or a pair (y, x).
        output_padding: 0 or 1 pixels more at the bottom and at the right, or a pair (y, x).

    Returns:
        [N, C, 2·(H - 1) + s - 2·py + output_padding, ...] of s×s taps, x.dtype.

    Raises:
        TypeError: x and w are not both float32 or both float64.
        ValueError: padding, output_padding or a shape does not fit, or w is 4×4 without AMX.
    """
    op = "winograd_strided_conv_transpose2d"
    pads = checked_padding(op, x, w, padding, transposed=True, sides=_sides(x))
    more = pair_of_pads(output_padding)
    if more is None or max(more) > 1:
        raise ValueError(
            f"{op}: output_padding must be 0 or 1, or a pair (y, x), got {output_padding!r}"
        )
    size = [2 * x.shape[2 + i] - 2 + w.shape[2] - 2 * pads[i] + more[i] for i in range(2)]
    if min(x.shape[2:]) < 1 or min(size) < 1:
        raise ValueError(
            f"{op}: x must be [N, K, H, W] with pixels left after cropping {pads}, got shape "
            f"{tuple(x.shape)}"
        )
    run = winograd_strided_conv2d_transposed_ref if reference_is_forced() else _transposed_op
    return run(x, w, *pads, *size)
