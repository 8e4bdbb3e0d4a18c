"""demodulation: the factors that give each output channel of a modulated convolution unit variance.

    e[o, i] = Σ_k w[o, i, k]²                            k runs over the taps
    d[n, o] = 1 / √(Σ_i s[n, i]² · e[o, i] + eps)

d[n, o] is one over the norm of sample n's modulated weights s[n, i] · w[o, i, k], which never
exist. e and the sums are float32 (float64 for a float64 w), also for 16-bit w and under autocast.
Derivatives: any order, by matrix products of [N, I], [O, I] and [N, O]; w is read again only for
its own gradient, which is computed only where the running backward pass asks for it. Capturable.
Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), eq. 3.
"""

import torch

from fastgan.autocast import autocast_type
from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op, gradient_is_wanted
from fastgan.ops._operands import check_device, check_floating, compute_dtype

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
    ds = dw = None
    with torch.autocast(autocast_type(w.device), enabled=False):
        if dd is not None:
            dd = dd * d.pow(3)  # -2 times the gradient of Σ_i s²·e + eps  [N, O]
            if gradient_is_wanted(ctx, 1):
                ds = -s * (dd @ e)
        if gradient_is_wanted(ctx, 0) and not (dd is None and de is None):
            twice = None if de is None else 2 * de
            if dd is not None:
                of_e = dd.t() @ s.square()  # [O, I]
                twice = -of_e if twice is None else twice - of_e
            de = twice.reshape(*twice.shape, *(1,) * (w.dim() - 2))
            dw = (w.to(s.dtype) * de).to(w.dtype)
    return dw, ds, None


_op = define_op(
    "demodulation(Tensor w, Tensor s, float eps) -> (Tensor, Tensor)",
    reference=demodulation_ref,
    fake=_fake,
    backward=_backward,
    setup_context=_setup,
)


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
    if not eps > 0:
        raise ValueError(f"demodulation: eps must be > 0, got {eps}; the default is 1e-8")
    run = demodulation_ref if reference_is_forced() else _op
    return run(w, s.to(compute_dtype(w)), float(eps))[0]
