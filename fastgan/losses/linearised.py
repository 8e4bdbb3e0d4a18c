"""Gradient penalties of a piecewise-linear critic with no second-order graph, exactly.

With D piecewise linear in x (l counts the layers, A_l their linear maps, M_l the masks that the
activations chose, both held where they are) and P any function of g = ∇ₓ Σ D(x):

    forward     h_{l+1} = M_l (A_l(w_l) h_l + b_l)
    adjoint     δ_l = A_l(w_l)ᵀ M_l δ_{l+1}         from ones at the logits; g is the last δ
    tangent     t_{l+1} = M_l A_l(w_l) t_l          from t_0 = ∂P/∂g, no biases
    ∂P/∂w_l     the layer's weight gradient for input t_l and output gradient M_l δ_{l+1}

A loss L of the logits, one per sample and samples not mixed, has c_n = ∂L/∂D_n and the weight
gradient for input c·h_l and the *same* output gradient. Its input adds to the tangent:

    ∂(L + P)/∂w_l = weight gradient(input c·h_l + t_l, output gradient M_l δ_{l+1})

So L + P costs four passes over the layers, where differentiating the gradient takes six (seven
with a forward pass of its own for each part).

What mixes samples nonlinearly (minibatch standard deviation, batch normalisation) is refused even
near the end of D: the δ of L and of P then differ by more than a factor per sample, which makes
six passes, the very number that double backward takes from a shared forward pass.

`linearise` runs D once, as it is. Forward and adjoint are autograd's own; a tape (see
`linearised_tape`) notes, per operator that x flows through, how a tangent follows it and which
tensors outside x it multiplies or adds. These tensors are the inputs of one autograd node, whose
outputs are the logits and g; from them to the parameters (scaled, cast, normalised or shared
weights, embeddings of c) autograd goes its way, hooks and all. Nothing is cached between calls:
weights, flags, shapes, Python values and random draws are those of this very forward pass.

Sources: R1, Mescheder et al. (2018); that a ReLU network's input gradient is linear in each of its
weights is common knowledge, the merged pass is worked out here.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from fastgan.losses import linearised_acts, linearised_fixed, linearised_rules  # noqa: F401
from fastgan.losses.linearised_program import Layout, Program, Seeds
from fastgan.losses.linearised_tape import Tape

__all__ = ["Linearised", "linearise", "refusal", "worth_trying"]


class Linearised(NamedTuple):
    """What `linearise` returns.

    logits: D's output, of D's own shape.
    gradients: g, one per input, differentiable once in everything that D was made of, or None
        where D is not piecewise linear: then differentiate `logits`, an ordinary tensor.
    reason: why there are none: the operator, the module and the line that it came from.
    """

    logits: torch.Tensor
    gradients: list[torch.Tensor] | None
    reason: str | None


def refusal() -> str | None:
    """Why no critic can be recorded at this moment, whatever it is made of; None if it can."""
    return "torch.compile is tracing this call" if torch.compiler.is_compiling() else None


# What method="auto" need not record again: critics that were refused, with whether they were
# training, and the largest inputs that a critic was too small for. Recording changes nothing, it
# only costs microseconds per operator.
_REFUSED: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
_TOO_SMALL: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

# On a CPU, the multiply-adds per recorded operator and thread from which the saved passes repay the
# recording, in one forward pass: `python -m benchmarks.models.linearised_r1 --small`.
_MACS_PER_STEP = 1_500_000


def worth_trying(D: Callable[..., torch.Tensor], xs: Sequence[torch.Tensor]) -> bool:
    """Whether method="auto" should record D: it was not refused before, nor too small."""
    if refusal() is not None:
        return False
    if not isinstance(D, torch.nn.Module):
        return True
    return _REFUSED.get(D) is not D.training and _size(xs) > _TOO_SMALL.get(D, -1)


def _size(xs: Sequence[torch.Tensor]) -> int:
    return sum(x.numel() for x in xs)


def _pays(tape: Tape, program: Program, xs: Sequence[torch.Tensor]) -> bool:
    if xs[0].device.type != "cpu":
        return True  # double backward launches more kernels
    return tape.macs >= _MACS_PER_STEP * len(program.steps) * torch.get_num_threads()


def linearise(
    D: Callable[..., torch.Tensor],
    xs: Sequence[torch.Tensor],
    conditions: Sequence[torch.Tensor] = (),
    *,
    if_it_pays: bool = False,
) -> Linearised:
    """D(*xs, *conditions) and its gradient in xs; see the top of this file.

    Args:
        D: any callable; what makes it qualify is what it does, not what it is.
        xs: leaves that require grad, [N, ...] with one N.
        conditions: passed on untouched.
        if_it_pays: stay with an ordinary forward pass where D is so small that recording it costs
            more than it saves; this is remembered, and so is a refusal (`worth_trying`).

    A loss of `logits` and `gradients` takes one `backward`, which merges both where D has one
    logit per sample and keeps samples apart; else `logits` keep autograd's graph and only the
    penalty takes the way above. Backward with create_graph raises NotImplementedError. No host
    synchronisation; capturable. Activations keep their layout and dtype (autocast included).
    """
    tape = Tape(xs)
    with torch.enable_grad():
        with tape:
            logits = D(*xs, *conditions)
        program = tape.finish(logits)
        if program is None:
            if isinstance(D, torch.nn.Module) and tape.is_final:
                _REFUSED[D] = D.training
            return Linearised(logits, None, tape.reason)
        if if_it_pays and not _pays(tape, program, xs):
            if isinstance(D, torch.nn.Module):
                _TOO_SMALL[D] = max(_size(xs), _TOO_SMALL.get(D, -1))
            return Linearised(logits, None, "D is too small to gain anything")
        grads = torch.autograd.grad(
            logits,
            [*xs, *program.edges],
            torch.ones_like(logits),
            allow_unused=True,
            retain_graph=not program.is_merged,
        )
        gradients = [
            torch.zeros_like(x) if g is None else g for x, g in zip(xs, grads, strict=False)
        ]
        program.edges.clear()
        values = logits.detach() if program.is_merged else None
        outputs = _Critic.apply(program, values, gradients, grads[len(xs) :], *program.outside)
    if program.is_merged:
        logits, *gradients = outputs
    else:
        gradients = list(outputs)
    return Linearised(logits, gradients, None)


class _Critic(torch.autograd.Function):
    """(tensors outside x) → (logits if merged, g...), with the backward pass described above."""

    @staticmethod
    def forward(ctx, program: Program, logits, gradients, deltas, *outside):
        ctx.program = program
        ctx.set_materialize_grads(False)
        ctx.has_delta = [delta is not None for delta in deltas]
        kept = [delta for delta in deltas if delta is not None]
        ctx.count = len(program.saved)
        ctx.save_for_backward(*program.saved, *kept)
        program.saved.clear()
        return tuple(gradients) if logits is None else (logits, *gradients)

    @staticmethod
    def backward(ctx, *grads):
        if torch.is_grad_enabled():
            raise NotImplementedError(
                "gradient_norm_penalty: method='linearised' is differentiable once, and "
                "create_graph=True asks for more; use method='double_backward'"
            )
        program: Program = ctx.program
        d_logits = grads[0] if program.is_merged else None
        d_gradients = grads[1:] if program.is_merged else grads
        saved = ctx.saved_tensors
        kept = iter(saved[ctx.count :])
        deltas = [next(kept) if has else None for has in ctx.has_delta]
        with torch._C._DisableAutocast(), torch._C._AutoDispatchBelowAutograd():
            found = _run(program, saved, deltas, d_logits, d_gradients, ctx.needs_input_grad[4:])
        return None, None, None, None, *found


def _run(program, saved, deltas, d_logits, d_gradients, needed) -> list[torch.Tensor | None]:
    """The tangent and the weight-gradient pass, layer by layer: gradients per tensor outside."""
    found: list[torch.Tensor | None] = [None] * len(needed)
    seeds = Seeds(None if d_logits is None else d_logits.reshape(-1), program.samples)
    has_tangents = any(d is not None for d in d_gradients)
    if not has_tangents and d_logits is None:
        return found
    tangents: dict[int, torch.Tensor] = {}
    if has_tangents:
        for value, (d, like) in enumerate(zip(d_gradients, program.inputs, strict=True)):
            t = torch.zeros(like.shape, dtype=like.dtype, device=like.device) if d is None else d
            tangents[value] = _with_strides(t, like)
    uses = dict(program.uses)
    for step in program.steps:
        ts = [tangents.get(value) for value in step.inputs]
        if step.gradients is not None and deltas[step.delta] is not None:
            for slot, grad in step.gradients(saved, seeds, deltas[step.delta], *ts):
                if needed[slot] and grad is not None:
                    found[slot] = grad if found[slot] is None else found[slot] + grad
        if has_tangents and step.is_needed:
            made = step.tangent(saved, *ts)
            made = made if isinstance(made, list | tuple) else (made,)
            tangents |= zip(step.outputs, made, strict=True)
        for value in step.inputs:
            uses[value] -= 1
            if uses[value] == 0:
                tangents.pop(value, None)
    return found


def _with_strides(t: torch.Tensor, like: Layout) -> torch.Tensor:
    """t in the layout of the input that it follows: a layer picks its kernel by the layout."""
    if t.stride() == like.stride:
        return t
    return torch.empty_strided(like.shape, like.stride, dtype=t.dtype, device=t.device).copy_(t)
