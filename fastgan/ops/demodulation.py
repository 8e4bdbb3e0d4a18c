# SPDX-License-Identifier: Apache-2.0
"""demodulation: the factors that give each output channel of a modulated convolution unit variance.

    e[o, i] = Σ_k w[o, i, k]²                            k runs over the taps
    d[n, o] = 1 / √(Σ_i s[n, i]² · e[o, i] + eps)

d[n, o] is one over the norm of sample n's modulated weights s[n, i] · w[o, i, k], which never
exist. e and the sums are float32 (float64 for a float64 w), also for 16-bit w and under autocast.
Gradients, with g = dd · d³ and de, which only a second derivative has:

    dw[o, i, k] = w[o, i, k] · (2 · de[o, i] - Σ_n g[n, o] · s[n, i]²)
    ds[n, i]    = -s[n, i] · Σ_o g[n, o] · e[o, i]

One kernel makes both, each only where the running backward pass asks for it; w is read again only
for dw. Derivatives: any order. Capturable.
Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), eq. 3.
"""

import torch
import torch.nn.functional as F

from fastgan.autocast import autocast_type
from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op, gradient_is_wanted
from fastgan.ops._layout import dense_format, empty_dense
from fastgan.ops._operands import check_device, check_floating, compute_dtype, finite_number
from fastgan.ops._small_calls import is_small
from fastgan.ops.modulate import _channel_dot_op

__all__ = ["demodulation"]


def demodulation_ref(
    w: torch.Tensor, s: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition of `fastgan.ops.demodulation` in differentiable PyTorch.

    Arguments are those of `fastgan.ops.demodulation`; s is float32 or float64.

    Returns:
        d [N, O], and e [O, I], the squared norms of the weights.
    """
    with torch.autocast(autocast_type(w.device), enabled=False):
        squares = w.to(s.dtype).square().unsqueeze(-1)
        e = squares.sum(list(range(2, squares.dim())))  # [O, I]
        return (s.square() @ e.t() + eps).rsqrt(), e


def _fake(w, s, eps):
    return s.new_empty(s.shape[0], w.shape[0]), s.new_empty(w.shape[:2])


def _setup(ctx, inputs, output):
    w, s, _eps = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(w, s, *output)


def _backward(ctx, dd, de):
    """e is an output of its own, so that no derivative of any order reads w to find it again."""
    w, s, d, e = ctx.saved_tensors
    has_dw = gradient_is_wanted(ctx, 0) and not (dd is None and de is None)
    has_ds = gradient_is_wanted(ctx, 1) and dd is not None
    if dd is None:
        dd = torch.zeros_like(d) if has_dw else None
    if not has_dw and not has_ds:
        return None, None, None
    dw, ds = _backward_op(dd, de, w, s, d, e, has_dw, has_ds)
    return dw if has_dw else None, ds if has_ds else None, None


def _backward_ref(dd, de, w, s, d, e, has_dw, has_ds):
    g = dd * d.pow(3)  # -2 times the gradient of Σ_i s²·e + eps  [N, O]
    dw, ds = w.new_empty(0), s.new_empty(0)
    if has_ds:
        ds = -s * (g @ e)
    if has_dw:
        c = -(g.t() @ s.square())  # [O, I]
        c = c if de is None else c + 2 * de
        dw = (w.to(s.dtype) * c.reshape(*c.shape, *(1,) * (w.dim() - 2))).to(w.dtype)
        dw = dw.contiguous(memory_format=dense_format(w))
    return dw, ds


def _backward_fake(dd, de, w, s, d, e, has_dw, has_ds):
    return (
        empty_dense(w) if has_dw else w.new_empty(0),
        s.new_empty(s.shape) if has_ds else s.new_empty(0),
    )


def _setup_backward(ctx, inputs, output):
    *tensors, ctx.has_dw, ctx.has_ds = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _double_backward(ctx, ddw, dds):
    """With q[o, i] = Σ_k ddw·w and u = -s·dds, ddw·dw + dds·ds summed up is

    L = Σ_{o,i} q · (2·de - gᵀ s²) + Σ_{n,i} u · (g e)      g = dd·d³

    Its gradients by w and by s have the form of the backward op: dw of ddw, ds of dds and of q.
    """
    dd, de, w, s, d, e = ctx.saved_tensors
    # A traced graph has gradients also of what was not made.
    ddw, dds = ddw if ctx.has_dw else None, dds if ctx.has_ds else None
    if ddw is None and dds is None:
        return (None,) * 8
    has_dd, has_de, has_w, has_s, has_d, has_e = (
        t is not None and gradient_is_wanted(ctx, i) for i, t in enumerate((dd, de, w, s, d, e))
    )
    by_dd = by_de = by_w = by_s = by_d = by_e = by_g = None
    with torch.autocast(autocast_type(w.device), enabled=False):
        if ddw is not None:
            q = _channel_dot_op(ddw, w)
            by_de = 2 * q if has_de else None
            if has_w:
                by_w = _backward_op(dd, de, ddw, s, d, e, True, False)[0]
            if has_s:
                by_s = 2 * _backward_op(dd, None, w, s, d, q, False, True)[1]
            if has_dd or has_d:
                by_g = -(s.square() @ q.t())
        if dds is not None:
            u = -s * dds
            if has_s:
                of_s = _backward_op(dd, None, w, dds, d, e, False, True)[1]
                by_s = of_s if by_s is None else by_s + of_s
            if has_e:
                by_e = (dd * d.pow(3)).t() @ u
            if has_dd or has_d:
                of_g = u @ e.t()
                by_g = of_g if by_g is None else by_g + of_g
        if has_dd:
            by_dd = by_g * d.pow(3)
        if has_d:
            by_d = by_g * dd * (3 * d.square())
    return by_dd, by_de, by_w, by_s, by_d, by_e, None, None


_backward_op = define_op(
    "demodulation_backward(Tensor dd, Tensor? de, Tensor w, Tensor s, Tensor d, Tensor e, "
    "bool has_dw, bool has_ds) -> (Tensor, Tensor)",
    reference=_backward_ref,
    fake=_backward_fake,
    backward=_double_backward,
    setup_context=_setup_backward,
)
_op = define_op(
    "demodulation(Tensor w, Tensor s, float eps) -> (Tensor, Tensor)",
    reference=demodulation_ref,
    fake=_fake,
    backward=_backward,
    setup_context=_setup,
)


def _is_small_pair(w: torch.Tensor, s: torch.Tensor) -> bool:
    """Whether a small w and s need none of the checks and casts of `demodulation`."""
    sizes, shape = w.shape, s.shape
    return (
        s.dtype is w.dtype and len(shape) == 2 <= len(sizes) and shape[1] == sizes[1] and s.is_cpu
    )


def small_demodulation(w: torch.Tensor, s: torch.Tensor, eps: float) -> torch.Tensor:
    """`demodulation` of a small call, in plain operators and without checks."""
    e = w.square()
    e = e.sum(tuple(range(2, w.dim()))) if w.dim() > 2 else e
    return (F.linear(s.square(), e) + eps).rsqrt()


def demodulation(w: torch.Tensor, s: torch.Tensor, eps: float = 1e-8) -> torch.Tensor:
    """d[n, o] = 1 / √(Σ_i s[n, i]² Σ_k w[o, i, k]² + eps), StyleGAN2's demodulation factors.

    Derivatives of any order; capturable in a CUDA graph.

    Args:
        w: [O, I, ...], float64, float32, bfloat16 or float16; any strides.
        s: [N, I], any floating-point dtype; cast to float32 (float64 for a float64 w).
        eps: > 0, keeps d finite where all weights or styles are 0.

    Returns:
        [N, O], float32 (float64 for a float64 w).

    Raises:
        TypeError: w or s has no floating-point dtype.
        ValueError: a shape or device does not fit, or eps is not > 0.
    """
    if is_small(w) and _is_small_pair(w, s) and type(eps) is float and 0 < eps < 1:
        if torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return small_demodulation(w, s, eps)
        return small_demodulation(w, s, eps)
    check_floating("demodulation", "w", w)
    check_floating("demodulation", "s", s)
    if w.dim() < 2:
        raise ValueError(
            f"demodulation: w must be [O, I, ...], got shape {tuple(w.shape)}; reshape it"
        )
    if s.dim() != 2 or s.shape[1] != w.shape[1]:
        raise ValueError(
            f"demodulation: s must have shape [N, {w.shape[1]}] for w of shape {tuple(w.shape)}, "
            f"got {tuple(s.shape)}; one style per sample and input channel"
        )
    check_device("demodulation", "s", s, w, "w")
    eps = finite_number("demodulation", "eps", eps)
    if not eps > 0:
        raise ValueError(f"demodulation: eps must be > 0, got {eps}; the default is 1e-8")
    run = demodulation_ref if reference_is_forced() else _op
    return run(w, s.to(compute_dtype(w)), eps)[0]
