"""Gradient penalties for any critic and any input: R1, R2, WGAN-GP and the general form.

    g[n] = ∂ Σ D(x, c) / ∂x[n]
    r1, r2:            p[n] = ‖g[n]‖²                      at real, at generated samples
    wgan_gp:           p[n] = (‖g[n]‖ - 1)²                at points between real and generated
    gradient_norm_penalty: p[n] = (‖g[n]‖ - target)², one-sided where asked

Each returns the penalty per sample [N], not yet weighted: R1 adds γ/2 · r1(D, real).mean() to the
critic's loss, WGAN-GP 10 · wgan_gp(D, real, fake).mean(). D is any callable; x is one tensor
[N, ...] or a tuple of them (then D(*x)), of any shape: images, token embeddings, graphs.

`method`:
    "linearised"         exact, with no second-order graph; for critics that are piecewise linear
                         in x: see `fastgan.losses.linearised`, whose `linearise` also merges the
                         penalty with the loss of the same samples
    "double_backward"    exact: differentiates the gradient again
    "auto"               "linearised" where D's own forward pass shows that it holds and that it
                         pays (a tiny D costs more to record than to differentiate twice), else
                         "double_backward" from that same forward pass
    "finite_difference"  no second-order graph. The value is exact; its gradient with respect to
                         D's parameters is an APPROXIMATION, a central difference of D along g:
                         error of order step² for a smooth D; for a piecewise-linear D (leaky
                         ReLU) the kinks between the two points add noise as large as the gradient
                         of a small network itself. Prefer the exact method there.

Sources: Mescheder et al. (2018), eq. 9-10; Gulrajani et al. (2017), algorithm 1; Petzka et al.
(2018). The finite difference is the directional form of ∂‖g‖²/∂θ = 2 · ∂(g · v)/∂θ at v = g.
"""

from collections.abc import Callable, Sequence

import torch

from fastgan import sample_rng
from fastgan.losses.linearised import linearise, refusal, worth_trying
from fastgan.ops import gradient_penalty, interpolate_samples

Inputs = torch.Tensor | Sequence[torch.Tensor]
METHODS = ("auto", "linearised", "double_backward", "finite_difference")
_NO_DEPENDENCE = (
    "gradient_norm_penalty: D's output does not depend on x (no gradient flows); run D outside "
    "torch.no_grad(), without detach(), on the very tensors that are penalised"
)
FINITE_DIFFERENCE_STEP = 0.03  # of the norm of each sample


def r1(
    D: Callable[..., torch.Tensor],
    real: Inputs,
    c: torch.Tensor | None = None,
    *,
    method: str = "auto",
) -> torch.Tensor:
    """‖∇D‖² [N] at real samples; see the top of this file."""
    return gradient_norm_penalty(D, real, c, method=method)


def r2(
    D: Callable[..., torch.Tensor],
    fake: Inputs,
    c: torch.Tensor | None = None,
    *,
    method: str = "auto",
) -> torch.Tensor:
    """‖∇D‖² [N] at generated samples, which are detached: G gets no gradient from it."""
    return gradient_norm_penalty(D, fake, c, method=method)


def wgan_gp(
    D: Callable[..., torch.Tensor],
    real: Inputs,
    fake: Inputs,
    c: torch.Tensor | None = None,
    *,
    target: float = 1.0,
    one_sided: bool = False,
    method: str = "auto",
) -> torch.Tensor:
    """(‖∇D‖ - target)² [N] at random points between each real and generated sample."""
    reals, fakes = _as_tuple("wgan_gp", real), _as_tuple("wgan_gp", fake)
    if len(reals) != len(fakes):
        raise ValueError(
            f"wgan_gp: real and fake must hold equally many tensors, got {len(reals)}, {len(fakes)}"
        )
    t = sample_rng.uniform(reals[0].shape[0], device=reals[0].device, dtype=reals[0].dtype)
    points = tuple(
        interpolate_samples(r.detach(), f.detach(), t) for r, f in zip(reals, fakes, strict=True)
    )
    return gradient_norm_penalty(D, points, c, target=target, one_sided=one_sided, method=method)


def gradient_norm_penalty(
    D: Callable[..., torch.Tensor],
    x: Inputs,
    c: torch.Tensor | None = None,
    *,
    target: float = 0.0,
    one_sided: bool = False,
    method: str = "auto",
) -> torch.Tensor:
    """(‖∇D‖ - target)² [N] at x, which is detached first.

    Args:
        D: D(x), or D(x, c) where c is not None; any output whose first dimension is N.
        x: floating point [N, ...], or a tuple of such for D(*x).
        c: passed on untouched.
        target, one_sided: as in `fastgan.ops.gradient_penalty`.
        method: see the top of this file.

    Returns:
        [N], float32 (float64 for float64 inputs), differentiable in D's parameters.

    Raises:
        ValueError: bad `method`; D does not depend on x.
        NotImplementedError: D is compiled, where a penalty would silently lose its gradient; or
            method="linearised" and D is not piecewise linear, with the operator and its place.
    """
    _check_method("gradient_norm_penalty", method)
    xs = tuple(t.detach().requires_grad_() for t in _as_tuple("gradient_norm_penalty", x))
    conditions = () if c is None else (c,)
    with torch.enable_grad():
        if method == "finite_difference":
            return _finite_difference(D, xs, conditions, target, one_sided)
        return _exact(D, xs, conditions, method, target, one_sided)[1]


def logits_and_penalty(
    D: Callable[..., torch.Tensor],
    x: Inputs,
    c: torch.Tensor | None = None,
    *,
    target: float = 0.0,
    one_sided: bool = False,
    method: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """D's logits at x and `gradient_norm_penalty` there, for one loss of both.

    Arguments and errors as in `gradient_norm_penalty`. The exact methods run D once; "linearised"
    moreover needs one weight-gradient pass for both (`fastgan.losses.linearised`). Neither result
    takes a gradient to x.
    """
    _check_method("logits_and_penalty", method)
    xs = tuple(t.detach() for t in _as_tuple("logits_and_penalty", x))
    conditions = () if c is None else (c,)
    with torch.enable_grad():
        if method == "finite_difference":
            logits = D(*xs, *conditions)
            return logits, gradient_norm_penalty(
                D, xs, c, target=target, one_sided=one_sided, method=method
            )
        return _exact(
            D, tuple(t.requires_grad_() for t in xs), conditions, method, target, one_sided
        )


def _exact(D, xs, conditions, method, target, one_sided):
    """D's logits and the penalty at xs, which require grad."""
    _refuse_compiled(D)
    if method == "linearised" and (reason := refusal()) is not None:
        raise NotImplementedError(_not_linear(reason))
    if method == "linearised" or (method == "auto" and worth_trying(D, xs)):
        logits, gradients, reason = linearise(D, xs, conditions, if_it_pays=method == "auto")
        if gradients is not None:
            return logits, gradient_penalty(gradients, target, one_sided)
        if method == "linearised":
            raise NotImplementedError(_not_linear(reason))
    else:
        logits = D(*xs, *conditions)
    return logits, penalty_of_logits(logits, xs, target=target, one_sided=one_sided)


def _not_linear(reason: str | None) -> str:
    return (
        "gradient_norm_penalty: method='linearised' needs a critic that is piecewise linear in x, "
        f"but {reason}; use method='auto' or 'double_backward'"
    )


def _check_method(function: str, method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"{function}: method must be one of {', '.join(METHODS)}, got {method!r}")


def penalty_of_logits(
    logits: torch.Tensor,
    x: Inputs,
    *,
    target: float = 0.0,
    one_sided: bool = False,
) -> torch.Tensor:
    """The same from a forward pass that exists already: `logits` = D(x) with x requiring grad.

    Saves the second forward pass of D where the main loss uses the same samples.
    """
    xs = _as_tuple("penalty_of_logits", x)
    return gradient_penalty(_gradients(logits, xs, create_graph=True), target, one_sided)


def _as_tuple(function: str, x: Inputs) -> tuple[torch.Tensor, ...]:
    xs = (x,) if isinstance(x, torch.Tensor) else tuple(x)
    for i, t in enumerate(xs):
        if not isinstance(t, torch.Tensor) or not t.is_floating_point():
            got = t.dtype if isinstance(t, torch.Tensor) else type(t).__name__
            raise TypeError(
                f"{function}: input {i} must be a floating-point tensor, got {got}; penalise the "
                "embedding of discrete data, not the indices"
            )
    return xs


def _gradients(
    logits: torch.Tensor, xs: tuple[torch.Tensor, ...], create_graph: bool
) -> list[torch.Tensor]:
    if not logits.requires_grad:
        raise ValueError(_NO_DEPENDENCE)
    grads = torch.autograd.grad(logits.sum(), xs, create_graph=create_graph, allow_unused=True)
    if all(g is None for g in grads):
        raise ValueError(_NO_DEPENDENCE)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(grads, xs, strict=True)]


def _per_sample_norm(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return gradient_penalty([t.detach() for t in tensors]).sqrt()


def _finite_difference(D, xs, conditions, target, one_sided):
    grads = _gradients(D(*xs, *conditions), xs, create_graph=False)
    # A leaf for ‖g‖² gives the penalty's slope in it without any formula of its own here.
    scale = torch.ones_like(_per_sample_norm(grads)).requires_grad_()  # [N]
    value = gradient_penalty(
        [g.detach().to(scale.dtype) * _like(scale, g) for g in grads], target, one_sided
    )
    (slope,) = torch.autograd.grad(value.sum(), scale)  # dp/d‖g‖ · ‖g‖
    norm = _per_sample_norm(grads)
    norm = torch.where(norm > 0, norm, torch.ones_like(norm))  # slope is 0 where the norm is
    step = FINITE_DIFFERENCE_STEP * _per_sample_norm(xs).clamp(min=1.0)
    moves = [(g.detach().to(norm.dtype) * _like(step / norm, g)).to(g.dtype) for g in grads]
    ahead = D(*(x.detach() + m for x, m in zip(xs, moves, strict=True)), *conditions)
    behind = D(*(x.detach() - m for x, m in zip(xs, moves, strict=True)), *conditions)
    # ≈ ‖g‖, differentiable in D's parameters; logits [N] are allowed
    rate = (ahead - behind).unsqueeze(-1).flatten(1).sum(1) / (2 * step)
    surrogate = slope / norm * rate.to(norm.dtype)
    return value.detach() + surrogate - surrogate.detach()


def _like(per_sample: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return per_sample.reshape(-1, *(1,) * (g.dim() - 1))


def _refuse_compiled(D: Callable[..., torch.Tensor]) -> None:
    """torch.compile(D) followed by create_graph gives the value of a penalty and no gradient."""
    if torch.compiler.is_compiling():
        return
    modules = D.modules() if isinstance(D, torch.nn.Module) else [D]
    for module in modules:
        if (
            hasattr(module, "_torchdynamo_orig_callable")
            or hasattr(getattr(module, "forward", None), "_torchdynamo_orig_callable")
            or getattr(module, "_compiled_call_impl", None) is not None
        ):
            raise NotImplementedError(
                f"gradient_norm_penalty: {type(module).__name__} is compiled by torch.compile, "
                "which drops the penalty's gradient without an error; pass the uncompiled module, "
                "compile the whole step with torch._dynamo.config.trace_autograd_ops=True, or use "
                "method='finite_difference'"
            )
