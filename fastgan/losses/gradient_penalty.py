# SPDX-License-Identifier: Apache-2.0
"""Gradient penalties for any critic and any input: R1, R2, WGAN-GP, DRAGAN and the general form.

    g[n] = ∂ Σ D(x, c) / ∂x[n]
    r1, r2:            p[n] = ‖g[n]‖²                      at real, at generated samples
    wgan_gp:           p[n] = (‖g[n]‖ - 1)²                at points between real and generated
    dragan:            p[n] = (‖g[n]‖ - 1)²                at real samples with noise
    gradient_norm_penalty: p[n] = (‖g[n]‖ - target)², one-sided where asked

Each returns the penalty per sample [N], not yet weighted: R1 adds γ/2 · r1(D, real).mean() to the
critic's loss, WGAN-GP 10 · wgan_gp(D, real, fake).mean(). D is any callable that returns logits, a
list of logits or (logits, features) (`fastgan.losses.judgement`): the gradient is that of the sum
of all logits. x is a tree of tensors [N, ...] (a tensor, or a dict, tuple, list or registered
dataclass of trees): images, token embeddings, graphs. g has one part for each floating-point tensor
of x, and ‖g[n]‖² is the sum over the parts; other tensors are passed on untouched.

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
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel

from fastgan import sample_rng
from fastgan._trees import FloatingLeaves, entries_of
from fastgan.losses.judgement import Judgement, judgement_of, sum_per_sample, total_of
from fastgan.losses.linearised import linearise, refusal, worth_trying
from fastgan.ops import gradient_penalty, interpolate_samples
from fastgan.ops._operands import finite_number

Critic = Callable[..., Any]
Inputs = Any  # a tree of tensors [N, ...]
METHODS = ("auto", "linearised", "double_backward", "finite_difference")
FINITE_DIFFERENCE_STEP = 0.03  # of the norm of each sample


def r1(D: Critic, real: Inputs, c: Tensor | None = None, *, method: str = "auto") -> Tensor:
    """‖∇D‖² at real samples.

        loss = objective + gamma / 2 * r1(D, real).mean()

    The other arguments are those of `fastgan.losses.gradient_penalty.gradient_norm_penalty`, and so
    are results and errors.

    Args:
        real: a tree of tensors [N, ...], some of them floating point.

    Source: Mescheder et al. (2018), equation 9.
    """
    return gradient_norm_penalty(D, real, c, method=method)


def r2(D: Critic, fake: Inputs, c: Tensor | None = None, *, method: str = "auto") -> Tensor:
    """‖∇D‖² at generated samples, which are detached: G gets no gradient from it.

    The other arguments are those of `fastgan.losses.gradient_penalty.gradient_norm_penalty`, and so
    are results and errors.

    Args:
        fake: a tree of tensors [N, ...], some of them floating point.

    Source: Mescheder et al. (2018), equation 10.
    """
    return gradient_norm_penalty(D, fake, c, method=method)


def wgan_gp(
    D: Critic,
    real: Inputs,
    fake: Inputs,
    c: Tensor | None = None,
    *,
    target: float = 1.0,
    one_sided: bool = False,
    method: str = "auto",
) -> Tensor:
    """(‖∇D‖ - target)² at one random point between each real and generated sample.

    The other arguments are those of `fastgan.losses.gradient_penalty.gradient_norm_penalty`, and so
    are results and errors.

    Args:
        real: a tree of tensors [N, ...], some of them floating point; detached. D gets its other
            tensors as they are.
        fake: a tree of the same structure, whose dicts may have further keys; detached.
        target: the wanted norm; 1 in the paper. 0 gives the zero-centred penalty (Thanh-Tung et al.
            2019, arXiv 1902.03984).
        one_sided: whether norms below `target` cost nothing (Petzka et al. 2018).

    Raises:
        ValueError: also for a `fake` of another structure.

    Source: Gulrajani et al. (2017), algorithm 1.
    """
    reals, target = _floating("wgan_gp", real), finite_number("wgan_gp", "target", target)
    try:
        fakes = _floating("wgan_gp", entries_of(fake, real)).tensors
    except ValueError as error:
        raise ValueError(f"wgan_gp: fake must be what real is: expected {error}") from None
    first = reals.tensors[0]
    t = sample_rng.uniform(first.shape[0], device=first.device, dtype=first.dtype)
    points = reals.replaced(
        [
            interpolate_samples(r.detach(), f.detach(), t)
            for r, f in zip(reals.tensors, fakes, strict=True)
        ]
    )
    return gradient_norm_penalty(D, points, c, target=target, one_sided=one_sided, method=method)


def dragan(
    D: Critic,
    real: Inputs,
    c: Tensor | None = None,
    *,
    noise: float = 0.5,
    target: float = 1.0,
    one_sided: bool = False,
    method: str = "auto",
) -> Tensor:
    """(‖∇D‖ - target)² at real samples with normal noise: DRAGAN.

        x' = x + noise · δ,  δ ~ N(0, I)

    The other arguments are those of `fastgan.losses.gradient_penalty.gradient_norm_penalty`, and so
    are results and errors.

    Args:
        real: a tree of tensors [N, ...], some of them floating point, which get the noise.
        noise: its standard deviation, in the units of the samples.

    Source: Kodali et al. (2017), "On Convergence and Stability of GANs", arXiv 1705.07215, section
    2.3.
    """
    reals, noise = _floating("dragan", real), finite_number("dragan", "noise", noise)
    points = reals.replaced(
        [t.detach() + noise * sample_rng.normal_like(t.detach()) for t in reals.tensors]
    )
    return gradient_norm_penalty(D, points, c, target=target, one_sided=one_sided, method=method)


def gradient_norm_penalty(
    D: Critic,
    x: Inputs,
    c: Tensor | None = None,
    *,
    target: float = 0.0,
    one_sided: bool = False,
    method: str = "auto",
) -> Tensor:
    """(‖∇D‖ - target)² at x, which is detached first.

    Args:
        D: D(x), or D(x, c) where c is not None; logits, a list of logits, or (logits, features),
            of any shape whose first dimension is N.
        x: a tree of tensors [N, ...], some of them floating point. D gets a tree of the same
            structure.
        c: the condition, passed on untouched; None for D(x).
        target: the wanted norm; 0 gives ‖∇D‖².
        one_sided: whether norms below `target` cost nothing.
        method: one of METHODS; see the top of this file.

    Returns:
        [N], float32 (float64 for float64 inputs), differentiable in D's parameters.

    Raises:
        ValueError: for another `method`, another form of D's output, or a D that does not depend
            on x.
        TypeError: for an x without a floating-point tensor.
        NotImplementedError: D is compiled, where a penalty would silently lose its gradient; or
            method="linearised" and D is not piecewise linear, with the operator and its place.
    """
    _check_method("gradient_norm_penalty", method)
    target = finite_number("gradient_norm_penalty", "target", target)
    leaves = _floating("gradient_norm_penalty", x)
    xs = tuple(t.detach().requires_grad_() for t in leaves.tensors)
    conditions = () if c is None else (c,)

    def logits(*xs: Tensor) -> Tensor:
        output = D(leaves.replaced(xs), *conditions)
        if isinstance(output, Tensor):
            return output
        return sum_per_sample(judgement_of(output, "gradient_norm_penalty").logits)

    with torch.enable_grad():
        if method == "finite_difference":
            return _finite_difference(logits, xs, target, one_sided)
        return _exact(D, logits, xs, method, target, one_sided)[1]


def logits_and_penalty(
    D: Critic,
    x: Inputs,
    c: Tensor | None = None,
    *,
    target: float = 0.0,
    one_sided: bool = False,
    method: str = "auto",
) -> tuple[Tensor, Tensor]:
    """D's logits at x and `gradient_norm_penalty` there, for one loss of both.

    The exact methods run D once; "linearised" moreover needs one weight-gradient pass for both
    (`fastgan.losses.linearised`). Neither result takes a gradient to x.
    Arguments are those of `fastgan.losses.gradient_penalty.gradient_norm_penalty`, and so are
    errors.

    Returns:
        D(x) or D(x, c), as D returned it, and the penalty [N]. "linearised" needs a D that returns
            one tensor; "auto" differentiates others twice.
    """
    _check_method("logits_and_penalty", method)
    target = finite_number("logits_and_penalty", "target", target)
    leaves = _floating("logits_and_penalty", x)
    xs = tuple(t.detach() for t in leaves.tensors)
    conditions = () if c is None else (c,)

    def output(*xs: Tensor) -> Any:
        return D(leaves.replaced(xs), *conditions)

    with torch.enable_grad():
        if method == "finite_difference":
            return output(*xs), gradient_norm_penalty(
                D, x, c, target=target, one_sided=one_sided, method=method
            )
        xs = tuple(t.requires_grad_() for t in xs)
        return _exact(D, output, xs, method, target, one_sided)


# The fused kernels of F.scaled_dot_product_attention have no second derivative (pytorch#116350);
# that of its definition exists, and keeps the matrix of queries by keys.
@sdpa_kernel(SDPBackend.MATH)
def _exact(D, call, xs, method, target, one_sided):
    """call(*xs), D's output at xs, which require grad, and the penalty there."""
    _refuse_compiled(D)
    if method == "linearised" and (reason := refusal()) is not None:
        raise NotImplementedError(_not_linear(reason))
    if method == "linearised" or (method == "auto" and worth_trying(D, xs)):
        output, gradients, reason = linearise(D, xs, only_if_faster=method == "auto", call=call)
        if gradients is not None:
            return output, gradient_penalty(gradients, target, one_sided)
        if method == "linearised":
            raise NotImplementedError(_not_linear(reason))
    else:
        output = call(*xs)
    penalty = penalty_of_logits(output, xs, target=target, one_sided=one_sided)
    if isinstance(D, DistributedDataParallel):
        # it waits for a gradient of every parameter, and a last bias has none by the penalty
        penalty = penalty + 0 * total_of(judgement_of(output).logits)
    return output, penalty


def _not_linear(reason: str | None) -> str:
    return (
        "gradient_norm_penalty: method='linearised' needs a critic that is piecewise linear in x, "
        f"but {reason}; use method='auto' or 'double_backward'"
    )


def _check_method(function: str, method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"{function}: method must be one of {', '.join(METHODS)}, got {method!r}")


def penalty_of_logits(
    logits: Tensor, x: Inputs, *, target: float = 0.0, one_sided: bool = False
) -> Tensor:
    """`gradient_norm_penalty` from a forward pass that exists already, by double backward.

    Saves the second forward pass of D where the main loss uses the same samples.

    Args:
        logits: D(x), with its graph: logits, a list of logits, or (logits, features).
        x: what D was called with, a tree whose floating-point tensors [N, ...] require grad.
        target: the wanted norm; 0 gives ‖∇D‖².
        one_sided: whether norms below `target` cost nothing.

    Returns:
        [N], float32 (float64 for float64 inputs), differentiable in D's parameters.

    Raises:
        ValueError: for logits that do not depend on x, or another form of D's output.
        TypeError: for an x without a floating-point tensor.
    """
    xs = tuple(_floating("penalty_of_logits", x).tensors)
    judgement = judgement_of(logits, "penalty_of_logits")
    return gradient_penalty(_gradients(judgement, xs, create_graph=True), target, one_sided)


def _floating(function: str, x: Inputs) -> FloatingLeaves:
    leaves = FloatingLeaves(x)
    if not leaves.tensors:
        got = x.dtype if isinstance(x, Tensor) else f"a {type(x).__name__} without one"
        raise TypeError(
            f"{function}: samples must be or hold a floating-point tensor, got {got}; penalise the "
            "embedding of discrete data, not the indices"
        )
    return leaves


def _gradients(D_of_x: Judgement, xs: tuple[Tensor, ...], create_graph: bool) -> list[Tensor]:
    grads: Sequence[Tensor | None] = (None,)
    total = total_of(D_of_x.logits)
    if total.requires_grad:
        grads = torch.autograd.grad(total, xs, create_graph=create_graph, allow_unused=True)
    if all(g is None for g in grads):
        raise ValueError(
            "gradient_norm_penalty: D's output does not depend on x (no gradient flows); run D "
            "outside torch.no_grad(), without detach(), on the very tensors that are penalised"
        )
    return [torch.zeros_like(x) if g is None else g for g, x in zip(grads, xs, strict=True)]


def _per_sample_norm(tensors: Sequence[Tensor]) -> Tensor:
    return gradient_penalty([t.detach() for t in tensors]).sqrt()


def _finite_difference(logits, xs, target, one_sided):
    grads = _gradients(Judgement([logits(*xs)]), xs, create_graph=False)
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
    ahead = logits(*(x.detach() + m for x, m in zip(xs, moves, strict=True)))
    behind = logits(*(x.detach() - m for x, m in zip(xs, moves, strict=True)))
    # ≈ ‖g‖, differentiable in D's parameters; logits [N] are allowed
    rate = (ahead - behind).unsqueeze(-1).flatten(1).sum(1) / (2 * step)
    surrogate = slope / norm * rate.to(norm.dtype)
    return value.detach() + surrogate - surrogate.detach()


def _like(per_sample: Tensor, g: Tensor) -> Tensor:
    return per_sample.reshape(-1, *(1,) * (g.dim() - 1))


def _refuse_compiled(D: Critic) -> None:
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
