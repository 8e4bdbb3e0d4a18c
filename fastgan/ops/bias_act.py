# SPDX-License-Identifier: Apache-2.0
"""bias_act: y = clamp(gain · act(x + b), ±clamp), in one pass.

    u = x + b                     b runs along one dimension of x
    v = gain · act(u)
    y = max(-clamp, min(v, clamp))

    act       act(u)                                default alpha, gain
    linear    u                                     -, 1
    relu      max(u, 0)                             -, √2
    lrelu     u if u > 0 else alpha·u               0.2, √2
    tanh      tanh(u)                               -, 1
    sigmoid   1 / (1 + e^-u)                        -, 1
    elu       u if u > 0 else e^u - 1               -, 1
    selu      1.0507·(u if u > 0 else 1.6733·(e^u - 1))   -, 1
    softplus  ln(1 + e^u)                           -, 1
    swish     u · sigmoid(u)                        -, √2

Derivatives: any order. The gradient is 0 where |v| ≥ clamp (torch.clamp, and so the reference's
own autograd, lets it through at equality). The bias gradient comes from the pass that makes dx,
and is skipped where the running backward pass does not ask for it. Capturable.
Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), appendix B.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op, gradient_is_wanted
from fastgan.ops._layout import dense_format, empty_dense
from fastgan.ops._operands import check_device, check_floating, clamp_bound, finite_number
from fastgan.ops._small_calls import MOST_IN_BIAS_ACT, is_small

__all__ = ["bias_act"]

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772


class Activation(NamedTuple):
    """An activation, its first and second derivative at u, and its defaults."""

    f: Callable[[torch.Tensor, float], torch.Tensor]
    df: Callable[[torch.Tensor, float], torch.Tensor]
    ddf: Callable[[torch.Tensor], torch.Tensor] | None  # None: piecewise linear
    alpha: float
    gain: float


def _slope(u: torch.Tensor, alpha: float) -> torch.Tensor:
    return torch.where(u > 0, torch.ones_like(u), torch.full_like(u, alpha))


def _swish_df(u: torch.Tensor, _: float) -> torch.Tensor:
    s = u.sigmoid()
    return s + u * s * (1 - s)


def _swish_ddf(u: torch.Tensor) -> torch.Tensor:
    s = u.sigmoid()
    return s * (1 - s) * (2 + u * (1 - 2 * s))


def _sigmoid_df(u: torch.Tensor, _: float = 0.0) -> torch.Tensor:
    s = u.sigmoid()
    return s * (1 - s)


def _exp_below_zero(u: torch.Tensor) -> torch.Tensor:
    return u.clamp(max=0).exp()


ACTIVATIONS: dict[str, Activation] = {
    "linear": Activation(lambda u, _: u, lambda u, _: torch.ones_like(u), None, 0.0, 1.0),
    "relu": Activation(
        lambda u, _: F.relu(u), lambda u, _: _slope(u, 0.0), None, 0.0, math.sqrt(2)
    ),
    "lrelu": Activation(F.leaky_relu, _slope, None, 0.2, math.sqrt(2)),
    "tanh": Activation(
        lambda u, _: u.tanh(),
        lambda u, _: 1 - u.tanh().square(),
        lambda u: -2 * u.tanh() * (1 - u.tanh().square()),
        0.0,
        1.0,
    ),
    "sigmoid": Activation(
        lambda u, _: u.sigmoid(),
        _sigmoid_df,
        lambda u: _sigmoid_df(u) * (1 - 2 * u.sigmoid()),
        0.0,
        1.0,
    ),
    "elu": Activation(
        lambda u, _: F.elu(u),
        lambda u, _: _exp_below_zero(u),
        lambda u: torch.where(u > 0, torch.zeros_like(u), _exp_below_zero(u)),
        0.0,
        1.0,
    ),
    "selu": Activation(
        lambda u, _: F.selu(u),
        lambda u, _: (
            _SELU_SCALE * torch.where(u > 0, torch.ones_like(u), _SELU_ALPHA * _exp_below_zero(u))
        ),
        lambda u: (
            _SELU_SCALE * _SELU_ALPHA * torch.where(u > 0, torch.zeros_like(u), _exp_below_zero(u))
        ),
        0.0,
        1.0,
    ),
    "softplus": Activation(
        lambda u, _: F.softplus(u), lambda u, _: u.sigmoid(), _sigmoid_df, 0.0, 1.0
    ),
    "swish": Activation(lambda u, _: F.silu(u), _swish_df, _swish_ddf, 0.0, math.sqrt(2)),
}


def _along(b: torch.Tensor, x: torch.Tensor, dim: int) -> torch.Tensor:
    return b.reshape([-1 if i == dim else 1 for i in range(x.dim())])


def _sum_along(t: torch.Tensor, dim: int) -> torch.Tensor:
    """Sum over all dimensions but `dim`; the added one is for a 1-D t, which has no other."""
    return t.unsqueeze(-1).sum([i for i in range(t.dim() + 1) if i != dim])


def bias_act_ref(
    x: torch.Tensor,
    b: torch.Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float = 0.0,
    gain: float = 1.0,
    clamp: float | None = None,
) -> torch.Tensor:
    """The definition of `fastgan.ops.bias_act` in differentiable PyTorch.

    Arguments are those of `fastgan.ops.bias_act`; alpha, gain and clamp are numbers or None for no
    clamp, not defaults to be found.

    Returns:
        [x.shape], in x's memory format.
    """
    u = x if b is None else x + _along(b, x, dim)
    v = ACTIVATIONS[act].f(u, alpha) * gain
    return v if clamp is None else v.clamp(-clamp, clamp)


def _forward(x, b, dim, act, alpha, gain, clamp):
    y = bias_act_ref(x, b, dim, act, alpha, gain, clamp)
    return y.contiguous(memory_format=dense_format(x))


def _derivative(x, b, y, dim, act, alpha, gain, clamp):
    """dy/du as a tensor, from y (piecewise linear, gain > 0, alpha ≥ 0) or from x and b."""
    if y is None:
        u = x if b is None else x + _along(b, x, dim)
        v = ACTIVATIONS[act].f(u, alpha) * gain
        slope = ACTIVATIONS[act].df(u, alpha) * gain
    else:
        v = y
        slope = ACTIVATIONS[act].df(y, alpha) * gain
    if clamp is None:
        return slope
    # y holds the clamp value as its dtype rounds it, so the bound must be rounded alike.
    return torch.where(v.abs() >= v.new_full((), clamp), torch.zeros_like(slope), slope)


def _backward_ref(dy, x, b, y, dim, act, alpha, gain, clamp, has_db):
    like = y if y is not None else x if x is not None else dy
    dy = dy.contiguous(memory_format=dense_format(like))
    dx = (
        dy * gain
        if y is None and x is None
        else dy * _derivative(x, b, y, dim, act, alpha, gain, clamp)
    )
    dx = dx.contiguous(memory_format=dense_format(like))
    return dx, (_sum_along(dx, dim) if has_db else dx.new_empty(0))


def _backward_fake(dy, x, b, y, dim, act, alpha, gain, clamp, has_db):
    like = y if y is not None else x if x is not None else dy
    return empty_dense(like), dy.new_empty(dy.shape[dim] if has_db else 0)


def _setup(ctx, inputs, output):
    x, b, *ctx.options = inputs
    _, act, alpha, gain, clamp = ctx.options
    ctx.has_b = b is not None
    ctx.set_materialize_grads(False)
    if act == "linear" and clamp is None:
        ctx.save_for_backward(None, None, None)
    elif gain > 0 and alpha >= 0 and ACTIVATIONS[act].ddf is None:
        # The sign and size of y tell the branch, and y is kept alive by the next layer anyway.
        ctx.save_for_backward(None, None, output)
    else:
        ctx.save_for_backward(x, b, None)


def _backward(ctx, dy):
    nothing = (None,) * 5
    if dy is None:
        return None, None, *nothing
    x, b, y = ctx.saved_tensors
    if y is not None and torch.is_grad_enabled():
        y = y.detach()  # dy/du is locally constant in y: no edge, no useless walk
    has_db = ctx.has_b and gradient_is_wanted(ctx, 1, dy.numel())
    dx, db = _backward_op(dy, x, b, y, *ctx.options, has_db)
    return dx, (db if has_db else None), *nothing


def _setup_backward(ctx, inputs, output):
    dy, x, b, y, *ctx.options, ctx.has_db = inputs
    ctx.shape = dy.shape
    ctx.set_materialize_grads(False)
    # Without x, dy enters linearly: not needed again.
    ctx.save_for_backward(None if x is None else dy, x, b, y)


def _double_backward(ctx, ddx, ddb):
    dy, x, b, y = ctx.saved_tensors
    dim, act, alpha, gain, clamp = ctx.options
    nothing = (None,) * 6
    g = ddx
    if ctx.has_db and ddb is not None:
        ddb = ddb.reshape([-1 if i == dim else 1 for i in range(len(ctx.shape))])
        g = ddb.expand(ctx.shape) if g is None else g + ddb
    if g is None:
        return None, None, None, None, *nothing
    d_dy, _ = _backward_op(g, x, b, y, dim, act, alpha, gain, clamp, False)
    d_x = d_b = None
    ddf = ACTIVATIONS[act].ddf
    if x is not None and ddf is not None:
        u = x if b is None else x + _along(b, x, dim)
        curvature = ddf(u) * gain
        if clamp is not None:
            v = ACTIVATIONS[act].f(u, alpha) * gain
            curvature = torch.where(v.abs() >= clamp, torch.zeros_like(curvature), curvature)
        d_x = g * dy * curvature
        d_b = None if b is None else _sum_along(d_x, dim)
    return d_dy, d_x, d_b, None, *nothing


_backward_op = define_op(
    "bias_act_backward(Tensor dy, Tensor? x, Tensor? b, Tensor? y, int dim, str act, float alpha, "
    "float gain, float? clamp, bool has_db) -> (Tensor, Tensor)",
    reference=_backward_ref,
    fake=_backward_fake,
    backward=_double_backward,
    setup_context=_setup_backward,
)
_op = define_op(
    "bias_act(Tensor x, Tensor? b, int dim, str act, float alpha, float gain, float? clamp) "
    "-> Tensor",
    reference=_forward,
    fake=lambda x, b, dim, act, alpha, gain, clamp: empty_dense(x),
    backward=_backward,
    setup_context=_setup,
)


_lrelu_into = torch._C._nn.leaky_relu_


def activation_numbers(
    op: str, act: str, alpha: float | None, gain: float | None, clamp: float | None
) -> tuple[float, float, float | None]:
    """An op's arguments alpha, gain and clamp, checked, with the defaults of `act`.

    alpha counts for "lrelu" alone; clamp is None where it clamps nothing.
    """
    spec = ACTIVATIONS[act]
    alpha = spec.alpha if alpha is None else finite_number(op, "alpha", alpha)
    if act != "lrelu":
        alpha = spec.alpha
    gain = spec.gain if gain is None else finite_number(op, "gain", gain)
    return alpha, gain, clamp_bound(op, clamp)


def _small(x, b, dim, act, alpha, gain):
    """A small call without clamp, in few operators; None where it is for the checks and the op."""
    if not (x.is_contiguous() or dense_format(x) == torch.channels_last):
        return None
    if b is None:
        u = x
    else:
        shape = x.shape
        dims = len(shape)
        if (
            b.shape != (shape[dim] if type(dim) is int and -dims <= dim < dims else None,)
            or b.dtype is not x.dtype
        ):
            return None
        after = -1 - dim if dim < 0 else dims - 1 - dim
        try:
            u = x + (b.view(-1, *(1,) * after) if after else b)
        except RuntimeError:  # of another device
            return None
        if act == "lrelu" and alpha >= 0:  # in place: the result is enough for the derivative
            u = _lrelu_into(u, alpha)
            return u if gain == 1 else u * gain
    y = ACTIVATIONS[act].f(u, alpha)
    return y if gain == 1 else y * gain


def bias_act(
    x: torch.Tensor,
    b: torch.Tensor | None = None,
    dim: int = 1,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> torch.Tensor:
    """y = clamp(gain · act(x + b), ±clamp), in one pass.

    The activations and their defaults stand at the top of fastgan/ops/bias_act.py. Derivatives of
    any order; capturable in a CUDA graph.

    Args:
        x: any shape; float64, float32, bfloat16 or float16; any strides.
        b: [x.shape[dim]], cast to x.dtype; None adds nothing.
        dim: the dimension that b runs along; negative counts from the end.
        act: linear, relu, lrelu, tanh, sigmoid, elu, selu, softplus or swish.
        alpha: slope of lrelu for u ≤ 0 (default 0.2); the other activations ignore it.
        gain: factor after the activation; None is the activation's default (√2 or 1).
        clamp: bound on |y| after the gain; None or a negative number clamps nothing.

    Returns:
        [x.shape], x.dtype, channels_last where x is, else contiguous; x itself where there is
        nothing to do (linear, no bias, gain 1, no clamp).

    Raises:
        TypeError: x or b has no floating-point dtype, or a number is none.
        ValueError: act is unknown, or dim, b's shape or b's device does not fit x, or a number is
            NaN, infinite (but for clamp), or a tensor that requires a gradient.

    Example:
        y = fastgan.ops.bias_act(torch.randn(8, 64, 32, 32), torch.zeros(64), act="lrelu")
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"bias_act: act must be one of {', '.join(ACTIVATIONS)}, got {act!r}")
    spec = ACTIVATIONS[act]
    alpha, gain, clamp = activation_numbers("bias_act", act, alpha, gain, clamp)
    most = MOST_IN_BIAS_ACT.get((torch.is_grad_enabled(), gain == 1), 0)
    if clamp is None and spec.ddf is None and is_small(x, most):
        y = _small(x, b, dim, act, alpha, gain)
        if y is not None:
            return y
    check_floating("bias_act", "x", x)
    if b is None:
        dim = 0
    else:
        if type(dim) is not int or not -x.dim() <= dim < x.dim():
            raise ValueError(
                f"bias_act: dim must be an int in [{-x.dim()}, {x.dim() - 1}] for x of shape "
                f"{tuple(x.shape)}, got {dim!r}"
            )
        dim %= x.dim()
        if b.dim() != 1 or b.shape[0] != x.shape[dim]:
            raise ValueError(
                f"bias_act: b must have shape ({x.shape[dim]},) to match x.shape[{dim}], got "
                f"{tuple(b.shape)}; pass dim= for another axis"
            )
        check_device("bias_act", "b", b, x)
        if b.dtype != x.dtype:
            check_floating("bias_act", "b", b)
            b = b.to(x.dtype)
    if b is None and act == "linear" and gain == 1 and clamp is None:
        return x
    run = bias_act_ref if reference_is_forced() else _op
    return run(x, b, dim, act, alpha, gain, clamp)
