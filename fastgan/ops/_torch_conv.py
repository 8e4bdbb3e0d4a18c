# SPDX-License-Identifier: Apache-2.0
"""torch's own convolutions, with the maps that some processors compute wrongly in 16 bits guarded.

On Intel processors with AMX, torch 2.13's bfloat16 and float16 convolution (oneDNN) reads memory
that nobody wrote where a map is too small for its kernel: values and gradients are garbage. Seen
with stride 2 on maps of width 1 or of the kernel's width, and with stride 1 where the kernel is
wider than the map; and, whatever the map, where the channels are fewer than 16 and even, and
channels times the kernel's width a multiple of 32 from 64 on. Such a convolution runs in float32
here, its derivatives too, and is rounded once: as exact as any, on every processor. Maps this small
cost nothing, kernels this wide are rare.

But torch computes a second derivative by the weights as a convolution with the batch as channels
and a kernel as wide as the map: garbage for a batch of 8 and maps of 8. So 16-bit convolutions on a
CPU have derivatives of their own here, in which the gradient of x is a (transposed) convolution.

`convolve` and `convolve_transposed` take 1, 2 or 3 spatial dimensions, as many as w has. All of
fastgan that convolves 16-bit tensors with torch does it through this file.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar

import torch
import torch.nn.functional as F

Size = int | Sequence[int]

_CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}  # by dimensions of w
_TRANSPOSED = {3: F.conv_transpose1d, 4: F.conv_transpose2d, 5: F.conv_transpose3d}
_NARROW = (torch.bfloat16, torch.float16)


def _each(value: Size, count: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return values * count if len(values) == 1 else values


def map_is_too_small(
    sizes: Sequence[int], kernel: Sequence[int], stride: Size, padding: Size, dilation: Size
) -> bool:
    """Whether the convolution of a map of `sizes`, without padding, is one of those to guard.

    Along some axis, with span = dilation · (k - 1) + 1:
    - the map or the output is smaller than the span: the kernel reaches over both borders at once,
      in the forward pass or in the gradient of the map, which is a convolution of dy;
    - with stride or padding, the map is no larger than the span;
    - padding adds more than the kernel takes away: the second derivative by the weights is a
      convolution of the map with a kernel of dy's size, which is the larger of the two.
    The second derivative by the weights of a dilated convolution is a strided one with a kernel as
    wide as the map, whatever its size: nothing here takes it, and it is left to torch.
    """
    count = len(sizes)
    strides, pads, steps = (_each(value, count) for value in (stride, padding, dilation))
    reaches_out = max(strides) > 1 or max(pads) > 0
    for size, k, s, pad, step in zip(sizes, kernel, strides, pads, steps, strict=True):
        span = step * (k - 1) + 1
        output = (size + 2 * pad - span) // s + 1
        if min(size, output) < span or (reaches_out and size <= span) or 2 * pad >= span:
            return True
    return False


def kernel_is_too_wide(w: torch.Tensor) -> bool:
    """Whether the kernel's width and the channels that it reads are those to guard."""
    channels = w.shape[1]
    products = [channels * k for k in w.shape[2:]]
    return channels < 16 and channels % 2 == 0 and any(n >= 64 and n % 32 == 0 for n in products)


def _narrow_dtype(x: torch.Tensor) -> torch.dtype | None:
    """The 16-bit dtype that torch would compute a convolution of x in on a CPU, or None."""
    if not x.is_cpu:
        return None
    dtype = x.dtype
    if torch.is_autocast_enabled("cpu") and dtype != torch.float64:
        dtype = torch.get_autocast_dtype("cpu")
    return dtype if dtype in _NARROW else None


def _in_float32(
    run: Callable[..., torch.Tensor], dtype: torch.dtype, x, w, b, *geometry
) -> torch.Tensor:
    """`run` on what 16 bits hold of its operands; autograd differentiates it in float32."""
    wide = [None if t is None else t.to(dtype).float() for t in (x, w, b)]
    with torch.autocast("cpu", enabled=False):
        return run(*wide, *geometry).to(dtype)


_is_running: ContextVar[bool] = ContextVar("fastgan_convolution", default=False)


def autograd_follows() -> bool:
    """Whether autograd follows the operator that a `TorchDispatchMode` sees: within the forward
    pass of a convolution of this file it does, although it is switched off there."""
    return torch.is_grad_enabled() or _is_running.get()


def _of_weight(dy, x, weight, *geometry) -> torch.Tensor:
    """The gradient of a weight; of `weight` shape and layout count, and no value."""
    mask = [False, True, False]
    return torch.ops.aten.convolution_backward(dy, x, weight, None, *geometry, mask)[1]


class fastgan_convolution(torch.autograd.Function):  # its node is known by that name
    """A convolution whose gradient of x is a convolution for autograd, too, and not a gradient."""

    @staticmethod
    def forward(ctx, x, w, b, stride, padding, dilation, is_transposed, output_padding, groups):
        ctx.save_for_backward(x, w)
        ctx.geometry = stride, padding, dilation, is_transposed, output_padding, groups
        token = _is_running.set(True)
        try:
            return torch.ops.aten.convolution(x, w, b, *ctx.geometry)
        finally:
            _is_running.reset(token)

    @staticmethod
    def backward(ctx, dy):
        x, w = ctx.saved_tensors
        stride, padding, dilation, is_transposed, _, groups = ctx.geometry
        count = w.dim() - 2
        needs_x, needs_w, needs_b = ctx.needs_input_grad[:3]
        dx = dw = db = None
        if needs_x:
            more = [0] * count
            if not is_transposed:
                spans = [step * (k - 1) + 1 for k, step in zip(w.shape[2:], dilation, strict=True)]
                sizes = zip(x.shape[2:], spans, stride, padding, strict=True)
                more = [(n + 2 * pad - span) % s for n, span, s, pad in sizes]
            geometry = (stride, padding, dilation, not is_transposed, more, groups)
            dx = torch.ops.aten.convolution(dy, w, None, *geometry)
        if needs_w:
            dw = _of_weight(dy, x, w.detach(), *ctx.geometry)
        if needs_b:
            db = dy.sum([0, *range(2, 2 + count)])
        return dx, dw, db, *[None] * 6


def _is_differentiated(*operands: torch.Tensor | None) -> bool:
    """Whether autograd alone follows the call: compilers and torch.func see torch's operator."""
    return (
        torch.is_grad_enabled()
        and any(t is not None and t.requires_grad for t in operands)
        and not torch.compiler.is_compiling()
        and not torch._C._is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and torch.autograd.forward_ad._current_level < 0
    )


def _differentiable(
    dtype: torch.dtype, x, w, b, stride, padding, dilation, is_transposed, output_padding, groups
) -> torch.Tensor:
    count = w.dim() - 2
    narrow = [None if t is None else t.to(dtype) for t in (x, w, b)]
    each = [list(_each(value, count)) for value in (stride, padding, dilation, output_padding)]
    with torch.autocast("cpu", enabled=False):
        return fastgan_convolution.apply(*narrow, *each[:3], is_transposed, each[3], groups)


def convolve(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> torch.Tensor:
    """torch.nn.functional.conv1d, conv2d or conv3d; padding in numbers."""
    run, dtype = _CONVOLUTIONS[w.dim()], _narrow_dtype(x)
    geometry = (stride, padding, dilation, groups)
    if dtype is not None:
        sizes = x.shape[2 - w.dim() :]
        if kernel_is_too_wide(w) or map_is_too_small(sizes, w.shape[2:], stride, padding, dilation):
            return _in_float32(run, dtype, x, w, b, *geometry)
        if _is_differentiated(x, w, b):
            return _differentiable(dtype, x, w, b, stride, padding, dilation, False, 0, groups)
    return run(x, w, b, *geometry)


def convolve_transposed(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
) -> torch.Tensor:
    """torch.nn.functional.conv_transpose1d, conv_transpose2d or conv_transpose3d."""
    run, dtype = _TRANSPOSED[w.dim()], _narrow_dtype(x)
    geometry = (stride, padding, output_padding, groups, dilation)
    if dtype is not None:
        count = w.dim() - 2
        each = (_each(v, count) for v in (stride, padding, output_padding, dilation))
        sizes = [
            (n - 1) * s - 2 * pad + step * (k - 1) + 1 + more
            for n, k, s, pad, more, step in zip(x.shape[-count:], w.shape[2:], *each, strict=True)
        ]
        if kernel_is_too_wide(w) or map_is_too_small(sizes, w.shape[2:], stride, padding, dilation):
            return _in_float32(run, dtype, x, w, b, *geometry)
        if _is_differentiated(x, w, b):
            more = (stride, padding, dilation, True, output_padding, groups)
            return _differentiable(dtype, x, w, b, *more)
    return run(x, w, b, *geometry)


def weight_gradient(
    size: Sequence[int],
    dy: torch.Tensor,
    x: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:
    """The gradient of a weight of `size`, of the convolution of x; twice differentiable."""
    dtype = x.dtype  # autocast casts no backward pass
    is_narrow = x.device.type == "cpu" and dtype in _NARROW
    if is_narrow and map_is_too_small(x.shape[2:], size[2:], stride, padding, dilation):
        dy, x = dy.float(), x.float()
    weight = x.new_empty(1).expand(tuple(size))  # no memory: its shape is all that counts
    geometry = (stride, padding, dilation, False, [0] * len(stride), groups)
    return _of_weight(dy, x, weight, *geometry).to(dtype)
