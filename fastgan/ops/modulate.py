# SPDX-License-Identifier: Apache-2.0
"""modulate: y[n, c, ...] = x[n, c, ...] · s[n, c], and channel_dot, its derivative in s.

    modulate(x, s)[n, c, p]  = x[n, c, p] · s[n, c]
    channel_dot(x, y)[n, c]  = Σ_p x[n, c, p] · y[n, c, p]        p runs over all other dimensions

The two are closed under differentiation, so every order of derivative is one of them:

    z = modulate(x, s):      dx = modulate(dz, s),   ds = channel_dot(dz, x)
    z = channel_dot(x, y):   dx = modulate(y, dz),   dy = modulate(x, dz)

On CUDA dx and ds of modulate are made in one pass over dz and x.
A product is taken in float32 (float64 for float64) and rounded once; the sum runs in that type, in
pieces fixed by the shapes alone. A gradient is computed only where the running backward pass asks
for it. Capturable.
Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), eq. 1, moved
from the weights to the maps as in its section 2.2.
"""

import torch

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op, gradient_is_wanted
from fastgan.ops._layout import dense_format, empty_dense
from fastgan.ops._operands import check_device, check_floating, compute_dtype
from fastgan.ops._small_calls import is_small

__all__ = ["channel_dot", "modulate"]


def _per_channel(s: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return s.reshape(*s.shape, *(1,) * (x.dim() - 2))


def modulate_ref(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """The definition of `fastgan.ops.modulate` in differentiable PyTorch.

    Arguments are those of `fastgan.ops.modulate`.

    Returns:
        [x.shape], x.dtype.
    """
    return (x * _per_channel(s, x)).to(x.dtype)


def channel_dot_ref(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The definition of `fastgan.ops.channel_dot` in differentiable PyTorch.

    Arguments are those of `fastgan.ops.channel_dot`.

    Returns:
        [N, C], float32 (float64 for float64 maps).
    """
    dtype = compute_dtype(x)
    product = (x.to(dtype) * y.to(dtype)).unsqueeze(-1)  # [N, C] maps have no other dimension
    return product.sum(list(range(2, product.dim())))


def _modulate_forward(x, s):
    y = empty_dense(x)
    return torch.mul(x, _per_channel(s, x), out=y)


def _modulate_setup(ctx, inputs, output):
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs)


def _modulate_backward(ctx, dz):
    x, s = ctx.saved_tensors
    if dz is None:
        return None, None
    is_x, is_s = gradient_is_wanted(ctx, 0), gradient_is_wanted(ctx, 1)
    if is_x and is_s:
        dx, ds = _backward_op(dz, x, s)
        return dx, ds.to(s.dtype)
    return (
        _modulate_op(dz, s) if is_x else None,
        _channel_dot_op(dz, x).to(s.dtype) if is_s else None,
    )


def _backward_ref(dz, x, s):
    return _modulate_forward(dz, s), channel_dot_ref(dz, x)


def _backward_backward(ctx, ddx, dds):
    dz, x, s = ctx.saved_tensors
    d_dz = d_x = d_s = None
    if ddx is not None:
        d_dz = _modulate_op(ddx, s) if gradient_is_wanted(ctx, 0) else None
        d_s = _channel_dot_op(ddx, dz).to(s.dtype) if gradient_is_wanted(ctx, 2) else None
    if dds is not None:
        if gradient_is_wanted(ctx, 0):
            by_dds = _modulate_op(x, dds)
            d_dz = by_dds if d_dz is None else d_dz + by_dds
        d_x = _modulate_op(dz, dds) if gradient_is_wanted(ctx, 1) else None
    return d_dz, d_x, d_s


def _channel_dot_backward(ctx, dz):
    x, y = ctx.saved_tensors
    if dz is None:
        return None, None
    dx = _modulate_op(y, dz) if gradient_is_wanted(ctx, 0) else None
    dy = _modulate_op(x, dz) if gradient_is_wanted(ctx, 1) else None
    return dx, dy


_modulate_op = define_op(
    "modulate(Tensor x, Tensor s) -> Tensor",
    reference=_modulate_forward,
    fake=lambda x, s: empty_dense(x),
    backward=_modulate_backward,
    setup_context=_modulate_setup,
    definition=modulate_ref,
)
_backward_op = define_op(
    "modulate_backward(Tensor dz, Tensor x, Tensor s) -> (Tensor, Tensor)",
    reference=_backward_ref,
    fake=lambda dz, x, s: (
        empty_dense(dz),
        dz.new_empty(dz.shape[:2], dtype=compute_dtype(dz)),
    ),
    backward=_backward_backward,
    setup_context=_modulate_setup,
)
_channel_dot_op = define_op(
    "channel_dot(Tensor x, Tensor y) -> Tensor",
    reference=channel_dot_ref,
    fake=lambda x, y: x.new_empty(x.shape[:2], dtype=compute_dtype(x)),
    backward=_channel_dot_backward,
    setup_context=_modulate_setup,
)


def _check_maps(op: str, x: torch.Tensor) -> None:
    check_floating(op, "x", x)
    if x.dim() < 2:
        raise ValueError(f"{op}: x must be [N, C, ...], got shape {tuple(x.shape)}; reshape it")


def _is_small_pair(x: torch.Tensor, s: torch.Tensor) -> bool:
    """Whether a small x and s need none of the checks, casts and copies of `modulate`."""
    return (
        s.dtype is x.dtype
        and s.shape == x.shape[:2]
        and s.is_cpu
        and x.dim() >= 2
        and (x.is_contiguous() or dense_format(x) == torch.channels_last)
    )


def modulate(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """y[n, c, ...] = x[n, c, ...] · s[n, c].

    Derivatives of any order, from `channel_dot` and itself; capturable in a CUDA graph.

    Args:
        x: [N, C, ...], float64, float32, bfloat16 or float16; any strides.
        s: [N, C], any floating-point dtype. x.dtype and float32 are taken as they are, so that a
            float32 factor is not rounded to a 16-bit x.dtype; others are cast.

    Returns:
        [x.shape], x.dtype, channels_last where x is, else contiguous. The gradient of s has s's
        dtype.

    Raises:
        TypeError: x or s has no floating-point dtype.
        ValueError: a shape or device does not fit.
    """
    if is_small(x) and _is_small_pair(x, s):
        return x * (s.view(*s.shape, *(1,) * (x.dim() - 2)) if x.dim() > 2 else s)
    _check_maps("modulate", x)
    if s.shape != x.shape[:2]:
        raise ValueError(
            f"modulate: s must have shape {tuple(x.shape[:2])} = x.shape[:2], got "
            f"{tuple(s.shape)}; one factor per sample and channel"
        )
    check_floating("modulate", "s", s)
    check_device("modulate", "s", s, x)
    if s.dtype != x.dtype:
        s = s.to(compute_dtype(x))
    return (modulate_ref if reference_is_forced() else _modulate_op)(x, s)


def channel_dot(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Inner product of each channel of x with the same channel of y.

    Derivatives of any order, from `modulate`; capturable in a CUDA graph.

    Args:
        x: [N, C, ...], float64, float32, bfloat16 or float16; any strides.
        y: like x in shape, dtype and device; any strides.

    Returns:
        [N, C], float32 (float64 for float64 maps).

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: x has fewer than two dimensions, or y is not like x.
    """
    _check_maps("channel_dot", x)
    if y.shape != x.shape or y.dtype != x.dtype or y.device != x.device:
        raise ValueError(
            f"channel_dot: y must be like x, {tuple(x.shape)} {x.dtype} on {x.device}, got "
            f"{tuple(y.shape)} {y.dtype} on {y.device}; reshape, cast or move it"
        )
    return (channel_dot_ref if reference_is_forced() else _channel_dot_op)(x, y)
