# SPDX-License-Identifier: Apache-2.0
"""noise_bias_act: the epilogue of a StyleGAN2 layer in one pass.

    u[n,c,s] = scale[n,c] · x[n,c,s] + strength · noise[n,s] + b[c]     s: a position in space
    y        = max(-clamp, min(gain · act(u), clamp))

The activations, their defaults, clamp and what happens at its bound are bias_act's. linear, relu
and lrelu (gain > 0, alpha ≥ 0) run fused: in float32 (float64 for float64), and rounded once.
Others run as noise_bias_act(act="linear"), which rounds u to x.dtype, and then bias_act.

Gradients, with du = dy · gain · act'(u), 0 where |y| = clamp:

    dx        = scale · du                  dstrength = Σ_{n,c,s} noise · du
    dscale    = Σ_s x · du     [N, C]       dnoise    = strength · Σ_c du (Σ_{n,c} of a shared one)
    db        = Σ_{n,s} du     [C]

Derivatives: any order. dscale, dstrength and db come from the pass that makes dx, each only where
the running backward pass asks for it; dnoise, which only a projector wants, costs its own pass.
y is saved, and x too where scale has a gradient. Capturable.
Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), section 2.2
and equation 3 (scale is the demodulation of an output map), appendix B.
"""

import torch
import torch.nn.functional as F

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op, gradient_is_wanted
from fastgan.ops._layout import dense_format, empty_dense
from fastgan.ops._operands import (
    check_device,
    check_floating,
    compute_dtype,
)
from fastgan.ops.bias_act import ACTIVATIONS, activation_numbers, bias_act
from fastgan.ops.bias_act import _backward_op as _bias_act_backward_op
from fastgan.ops.bias_act import _op as _bias_act_op

__all__ = ["noise_bias_act"]


def _per_channel(t: torch.Tensor, dims: int) -> torch.Tensor:
    """[N, C] or [C] -> [..., C, 1, ...], to go with a tensor of `dims` dimensions."""
    return t.reshape(*t.shape, *[1] * (dims - 2))


def noise_bias_act_ref(
    x: torch.Tensor,
    scale: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    strength: torch.Tensor | None = None,
    b: torch.Tensor | None = None,
    alpha: float = 1.0,
    gain: float = 1.0,
    clamp: float | None = None,
) -> torch.Tensor:
    """The definition of `fastgan.ops.noise_bias_act` for piecewise linear activations, in PyTorch.

    Arguments are those of `fastgan.ops.noise_bias_act`, all given, noise as [N or 1, 1, *spatial],
    with alpha, the slope below 0, instead of act: 1 is linear, 0 relu.

    Returns:
        [N, C, *spatial], x.dtype.
    """
    u = x.to(compute_dtype(x))
    if scale is not None:
        u = u * _per_channel(scale, x.dim())
    if noise is not None:
        u = u + (noise.to(u.dtype) if strength is None else strength * noise.to(u.dtype))
    if b is not None:
        u = u + _per_channel(b, x.dim())
    if alpha != 1:
        u = F.relu(u) if alpha == 0 else F.leaky_relu(u, alpha)
    v = u if gain == 1 else u * gain
    return (v if clamp is None else v.clamp(-clamp, clamp)).to(x.dtype)


def _act_of(alpha: float) -> str:
    return {1.0: "linear", 0.0: "relu"}.get(alpha, "lrelu")


def _forward(x, scale, noise, strength, b, alpha, gain, clamp):
    if x.dtype != compute_dtype(x):
        y = noise_bias_act_ref(x, scale, noise, strength, b, alpha, gain, clamp)
    else:  # bias_act's kernel, where there is one: nothing is rounded in between
        u = x if scale is None else x * _per_channel(scale, x.dim())
        if noise is not None:
            noise = noise if strength is None else strength * noise
            u = u + noise if u is x else u.add_(noise)
        y = _bias_act_op(u, b, 0 if b is None else 1, _act_of(alpha), alpha, gain, clamp)
    y = y.contiguous(memory_format=dense_format(x))
    return y.clone() if y is x else y


def _like(dy, y, x):
    return y if y is not None else x if x is not None else dy


def _backward_ref(dy, y, x, scale, noise, alpha, gain, clamp, has_db):
    like, space = _like(dy, y, x), tuple(range(2, dy.dim()))
    if dy.dtype == compute_dtype(dy):  # bias_act's kernel, where there is one
        du, db = _bias_act_backward_op(
            dy, None, None, y, 1, _act_of(alpha), alpha, gain, clamp, has_db
        )
    else:
        du = dy.to(compute_dtype(dy)) * gain
        if y is not None:
            du = torch.where(y > 0, du, du * alpha)
        if clamp is not None:
            # y holds the clamp value as its dtype rounds it, so the bound must be rounded alike.
            du = torch.where(y.abs() >= y.new_full((), clamp), torch.zeros_like(du), du)
        db = du.sum((0, *space)) if has_db else du.new_empty(0)
    dscale = du.new_empty(0) if x is None else (du * x).unsqueeze(-1).sum((*space, dy.dim()))
    dstrength = du.new_empty(0)
    if noise is not None:
        dstrength = (du.sum(1, keepdim=True) * noise).sum()
    dx = du if scale is None else du.mul_(_per_channel(scale, dy.dim()))
    return dx.to(dy.dtype).contiguous(memory_format=dense_format(like)), dscale, dstrength, db


def _backward_fake(dy, y, x, scale, noise, alpha, gain, clamp, has_db):
    dtype = compute_dtype(dy)
    return (
        empty_dense(_like(dy, y, x)),
        dy.new_empty((0,) if x is None else dy.shape[:2], dtype=dtype),
        dy.new_empty((0,) if noise is None else (), dtype=dtype),
        dy.new_empty(dy.shape[1] if has_db else 0, dtype=dtype),
    )


def _setup(ctx, inputs, output):
    x, scale, noise, strength, _, alpha, gain, clamp = inputs
    ctx.options = (alpha, gain, clamp)
    ctx.set_materialize_grads(False)
    is_bent = alpha != 1 or clamp is not None
    ctx.save_for_backward(
        output if is_bent else None,
        x if scale is not None and scale.requires_grad else None,
        scale,
        noise,
        strength,
    )


def _backward(ctx, dy):
    if dy is None:
        return (None,) * 8
    y, x, scale, noise, strength = ctx.saved_tensors
    y = None if y is None else y.detach()  # dy/du is locally constant in y
    has_dscale, has_dstrength, has_db = (gradient_is_wanted(ctx, i, dy.numel()) for i in (1, 3, 4))
    dx, dscale, dstrength, db = _backward_op(
        dy,
        y,
        x if has_dscale else None,
        scale,
        noise if has_dstrength else None,
        *ctx.options,
        has_db,
    )
    dnoise = None
    if gradient_is_wanted(ctx, 2):
        du = dx if scale is None else _du(dy, y, ctx.options)
        dnoise = _noise_gradient(du, noise, strength)
    return (
        dx,
        dscale if has_dscale else None,
        dnoise,
        dstrength if has_dstrength else None,
        db if has_db else None,
        *(None,) * 3,
    )


def _du(dy, y, options):
    return _backward_op(dy, y, None, None, None, *options, False)[0]


def _noise_gradient(du, noise, strength):
    dims = (0, 1) if noise.shape[0] == 1 else 1
    total = du.sum(dims, keepdim=True, dtype=compute_dtype(du))
    return (total if strength is None else total * strength).to(noise.dtype)


def _setup_backward(ctx, inputs, output):
    dy, y, x, scale, noise, alpha, gain, clamp, has_db = inputs
    ctx.options, ctx.has_db = (alpha, gain, clamp), has_db
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(dy, y, x, scale, noise)


def _double_backward(ctx, ddx, ddscale, ddstrength, ddb):
    """Everything that the backward op returns is linear in du = dy · slope(y):

    d_dy = slope(y) · g with g = scale·ddx + ddscale·x + ddstrength·noise + ddb, which has the
    form of the op itself; d_x = ddscale · du and d_scale = Σ_s ddx · du have that of the backward
    op with ddx in the place of x and ddscale in that of scale.
    """
    dy, y, x, scale, noise = ctx.saved_tensors
    # A traced graph has gradients also of what was not made.
    ddscale = None if x is None else ddscale
    ddstrength = None if noise is None else ddstrength
    ddb = ddb if ctx.has_db else None
    if all(t is None for t in (ddx, ddscale, ddstrength, ddb)):
        return (None,) * 9
    d_dy = d_x = d_scale = d_noise = None
    if gradient_is_wanted(ctx, 0):
        if ddscale is None and ddstrength is None and ddb is None:  # one pass
            d_dy = _backward_op(ddx, y, None, scale, None, *ctx.options, False)[0]
        else:
            t, factor = (torch.zeros_like(dy), None) if ddx is None else (ddx, scale)
            add_noise = None if ddstrength is None else noise
            g = _op(t, factor, add_noise, ddstrength, ddb, 1.0, 1.0, None)
            if ddscale is not None:
                g = g + _op(x, ddscale, None, None, None, 1.0, 1.0, None)
            d_dy = _du(g, y, ctx.options)
    has_d_x = ddscale is not None and gradient_is_wanted(ctx, 2)
    has_d_scale = ddx is not None and gradient_is_wanted(ctx, 3)
    if has_d_x or has_d_scale:
        by_x = ddx if has_d_scale else None
        by_scale = ddscale if has_d_x else None
        d_x, d_scale, *_ = _backward_op(dy, y, by_x, by_scale, None, *ctx.options, False)
        d_x, d_scale = d_x if has_d_x else None, d_scale if has_d_scale else None
    if ddstrength is not None and gradient_is_wanted(ctx, 4):
        d_noise = _noise_gradient(_du(dy, y, ctx.options), noise, ddstrength)
    return d_dy, None, d_x, d_scale, d_noise, *(None,) * 4


_backward_op = define_op(
    "noise_bias_act_backward(Tensor dy, Tensor? y, Tensor? x, Tensor? scale, Tensor? noise, "
    "float alpha, float gain, float? clamp, bool has_db) -> (Tensor, Tensor, Tensor, Tensor)",
    reference=_backward_ref,
    fake=_backward_fake,
    backward=_double_backward,
    setup_context=_setup_backward,
)
_op = define_op(
    "noise_bias_act(Tensor x, Tensor? scale, Tensor? noise, Tensor? strength, Tensor? b, "
    "float alpha, float gain, float? clamp) -> Tensor",
    reference=_forward,
    fake=lambda x, scale, noise, strength, b, alpha, gain, clamp: empty_dense(x),
    backward=_backward,
    setup_context=_setup,
)


def _check(name: str, t: torch.Tensor, x: torch.Tensor, *shapes: tuple[int, ...]) -> None:
    # By length first: a tuple's == compares the first elements even so, and under torch.export each
    # such comparison of a dynamic size forbids a value.
    if not any(len(t.shape) == len(shape) and tuple(t.shape) == shape for shape in shapes):
        expected = " or ".join(str(shape) for shape in dict.fromkeys(shapes))
        raise ValueError(
            f"noise_bias_act: {name} must have shape {expected} for x of shape {tuple(x.shape)}, "
            f"got {tuple(t.shape)}; reshape it"
        )
    check_device("noise_bias_act", name, t, x)
    if t.dtype != x.dtype:
        check_floating("noise_bias_act", name, t)


def noise_bias_act(
    x: torch.Tensor,
    scale: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    strength: torch.Tensor | None = None,
    b: torch.Tensor | None = None,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> torch.Tensor:
    """y = clamp(gain · act(scale·x + strength·noise + b), ±clamp), in one pass.

    scale, strength and b are taken as they are where x has 16 bits: they are used in float32 and
    get their gradients in their own dtype; both float32 and x.dtype are allowed. Derivatives of any
    order; capturable in a CUDA graph.

    Args:
        x: [N, C, *spatial]; float64, float32, bfloat16 or float16; any strides.
        scale: [N, C], such as demodulation coefficients; None is 1.
        noise: [N, 1, *spatial], or [1, 1, *spatial] or [*spatial] for all samples; cast to
            x.dtype; None is 0.
        strength: [], factor of noise; None is 1.
        b: [C]; None adds nothing.
        act: linear, relu, lrelu, tanh, sigmoid, elu, selu, softplus or swish.
        alpha: slope of lrelu for u ≤ 0 (default 0.2); the other activations ignore it.
        gain: factor after the activation; None is the activation's default (√2 or 1).
        clamp: bound on |y| after the gain; None or a negative number clamps nothing.

    Returns:
        [N, C, *spatial], x.dtype, channels_last where x is, else contiguous; x itself where there
        is nothing to do.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: act is unknown, a shape or device does not fit, or strength comes without noise.
    """
    if act not in ACTIVATIONS:
        raise ValueError(
            f"noise_bias_act: act must be one of {', '.join(ACTIVATIONS)}, got {act!r}"
        )
    check_floating("noise_bias_act", "x", x)
    if x.dim() < 2:
        raise ValueError(
            f"noise_bias_act: x must be [N, C, ...], got shape {tuple(x.shape)}; add dimensions"
        )
    dtype = compute_dtype(x)
    n, c, *space = x.shape
    if strength is not None and noise is None:
        raise ValueError("noise_bias_act: strength is given and noise is not; pass noise=")
    if scale is not None:
        _check("scale", scale, x, (n, c))
        scale = scale.to(dtype)
    if noise is not None:
        _check("noise", noise, x, (n, 1, *space), (1, 1, *space), tuple(space))
        noise = noise.to(x.dtype)
        noise = noise if noise.dim() == x.dim() else noise[None, None]
    if strength is not None:
        _check("strength", strength, x, ())
        strength = strength.to(dtype)
    if b is not None:
        _check("b", b, x, (c,))
        b = b.to(dtype)
    spec = ACTIVATIONS[act]
    alpha, gain, clamp = activation_numbers("noise_bias_act", act, alpha, gain, clamp)
    below = 1.0 if act == "linear" else alpha
    run = noise_bias_act_ref if reference_is_forced() else _op
    is_affine = act == "linear" and clamp is None
    if is_affine or (spec.ddf is None and gain > 0 and below >= 0):
        if is_affine and gain == 1 and all(t is None for t in (scale, noise, b)):
            return x
        return run(x, scale, noise, strength, b, below, gain, clamp)
    if any(t is not None for t in (scale, noise, b)):
        x = run(x, scale, noise, strength, b, 1.0, 1.0, None)
    return bias_act(x, None, 1, act, alpha, gain, clamp)
