# SPDX-License-Identifier: Apache-2.0
"""Records a critic, and runs the tangent and the weight-gradient pass over what was recorded."""

import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

import fastgan.losses.linearised.activation_rules
import fastgan.losses.linearised.fixed_rules
import fastgan.losses.linearised.weight_rules  # noqa: F401  (these three register their rules)
from fastgan.losses.linearised.program import Layout, Program, Seeds
from fastgan.losses.linearised.tape import Tape

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
    """Why no critic can be recorded at this moment, whatever it is made of.

    Returns:
        The reason, for an error message; None where recording is possible.
    """
    return "torch.compile is tracing this call" if torch.compiler.is_compiling() else None


# What method="auto" need not record again: critics that were refused, with whether they were
# training, and the largest inputs that a critic was too small for. Recording changes nothing, it
# only costs microseconds per operator.
_REFUSED: weakref.WeakKeyDictionary[Any, bool] = weakref.WeakKeyDictionary()
_TOO_SMALL: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

# On a CPU, the multiply-adds per recorded operator and thread from which the saved passes repay the
# recording, in one forward pass: the small critics of `fastgan bench step penalty_methods`.
_MACS_PER_OPERATOR = 1_500_000


def worth_trying(D: Callable[..., torch.Tensor], xs: Sequence[torch.Tensor]) -> bool:
    """Whether method="auto" should record D: it was not refused before, nor too small.

    Args:
        D: the critic; only a module's past is known.
        xs: its inputs, [N, ...] each.

    Returns:
        False where D was refused in the mode (training or not) that it is in, was too small for
        inputs of this size, or where `refusal` gives a reason.
    """
    if refusal() is not None:
        return False
    if not isinstance(D, torch.nn.Module):
        return True
    return _REFUSED.get(D) is not D.training and _size(xs) > _TOO_SMALL.get(D, -1)


def _size(xs: Sequence[torch.Tensor]) -> int:
    return sum(x.numel() for x in xs)


def _is_faster(tape: Tape, program: Program, xs: Sequence[torch.Tensor]) -> bool:
    if xs[0].device.type != "cpu":
        return True  # double backward launches more kernels
    return tape.macs >= _MACS_PER_OPERATOR * len(program.operators) * torch.get_num_threads()


def linearise(
    D: Callable[..., torch.Tensor],
    xs: Sequence[torch.Tensor],
    conditions: Sequence[torch.Tensor] = (),
    *,
    only_if_faster: bool = False,
    call: Callable[..., torch.Tensor] | None = None,
) -> Linearised:
    """D(*xs, *conditions) and its gradient in xs; see `fastgan.losses.linearised`.

    Args:
        D: any callable; what makes it qualify is what it does, not what it is.
        xs: leaves that require grad, [N, ...] with one N.
        conditions: passed on untouched.
        only_if_faster: stay with an ordinary forward pass where D is so small that recording it
            costs more than it saves; this is remembered, and so is a refusal (`worth_trying`).
        call: computes D's output from xs in the place of D(*xs, *conditions), where D takes a tree
            of tensors; D is then what is remembered.

    Returns:
        A `Linearised`. A loss of `logits` and `gradients` takes one `backward`, which merges both
        where D has one logit per sample and keeps samples apart; else `logits` keep autograd's
        graph and only the penalty takes the way above. No host synchronisation; capturable.
        Activations keep their layout and dtype (autocast included).

    Raises:
        NotImplementedError: from a backward pass with create_graph=True.
    """
    tape = Tape(xs)
    with torch.enable_grad():
        with tape:
            logits = D(*xs, *conditions) if call is None else call(*xs)
        program = tape.finish(logits)
        if program is None:
            if isinstance(D, torch.nn.Module) and tape.is_final:
                _REFUSED[D] = D.training
            return Linearised(logits, None, tape.reason)
        if only_if_faster and not _is_faster(tape, program, xs):
            if isinstance(D, torch.nn.Module):
                _TOO_SMALL[D] = max(_size(xs), _TOO_SMALL.get(D, -1))
            return Linearised(logits, None, "D is too small to gain anything")
        grads = torch.autograd.grad(
            logits,
            [*xs, *program.edges],
            torch.ones_like(logits),
            allow_unused=True,
            retain_graph=True,  # D may have kept features for a loss of their own
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
    for op in program.operators:
        ts = [tangents.get(value) for value in op.inputs]
        if op.gradients is not None and deltas[op.delta] is not None:
            for slot, grad in op.gradients(saved, seeds, deltas[op.delta], *ts):
                if needed[slot] and grad is not None:
                    found[slot] = grad if found[slot] is None else found[slot] + grad
        if has_tangents and op.is_needed:
            made = op.tangent(saved, *ts)
            made = made if isinstance(made, list | tuple) else (made,)
            tangents |= zip(op.outputs, made, strict=True)
        for value in op.inputs:
            uses[value] -= 1
            if uses[value] == 0:
                tangents.pop(value, None)
    return found


def _with_strides(t: torch.Tensor, like: Layout) -> torch.Tensor:
    """t in the layout of the input that it follows: a layer picks its kernel by the layout."""
    if t.stride() == like.stride:
        return t
    return torch.empty_strided(like.shape, like.stride, dtype=t.dtype, device=t.device).copy_(t)
