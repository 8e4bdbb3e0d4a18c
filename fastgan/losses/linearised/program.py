# SPDX-License-Identifier: Apache-2.0
"""What a tape becomes: the operators of the tangent and the weight-gradient pass."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch.autograd.graph import GradientEdge

Tangent = Callable[..., torch.Tensor | Sequence[torch.Tensor]]
Gradients = Callable[..., list[tuple[int, torch.Tensor | None]]]


class RecordedOperator(NamedTuple):
    """One operator on values that depend on x, which are known by number.

    tangent: (saved, *tangents of inputs) → tangents of outputs.
    gradients: (saved, seeds, δ, *tangents) → (slot, gradient) of the tensors outside x that the
        operator used, with δ = ∂ΣD/∂output; None where there are none.
    gradients_inside: the same with δ = ∂ΣD/∂(its only input), which another operator may want
        anyway; right only where nothing else reads this input.
    delta: the place of δ among the program's edges.
    is_needed: a later weight gradient reads what its tangent becomes.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    tangent: Tangent
    gradients: Gradients | None = None
    gradients_inside: Gradients | None = None
    delta: int | None = None
    is_needed: bool = False


class Layout(NamedTuple):
    """Of an input of D."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


class Program(NamedTuple):
    """All that a backward pass needs. saved: what operators kept; outside: the tensors that take
    gradients, by slot; edges: where in autograd's graph the δ are to be had; uses: how many
    operators read a value; is_merged: a loss of the logits can share the weight-gradient pass."""

    operators: list[RecordedOperator]
    saved: list[torch.Tensor]
    outside: list[torch.Tensor]
    edges: list[GradientEdge]
    uses: dict[int, int]
    inputs: list[Layout]
    samples: int
    is_merged: bool


class Seeds:
    """c [N], one factor per sample (None where only a penalty is differentiated)."""

    def __init__(self, c: torch.Tensor | None, samples: int) -> None:
        self.c, self.samples = c, samples

    def rows(self, n: int) -> torch.Tensor:
        """c for each of n rows that hold sample after sample."""
        if n == self.samples:
            return self.c
        return (
            self.c.expand(n) if self.samples == 1 else self.c.repeat_interleave(n // self.samples)
        )

    def weigh(self, h: torch.Tensor) -> torch.Tensor:
        """c·h."""
        return h * self._beside(h)

    def mix(self, h: torch.Tensor, t: torch.Tensor | None) -> torch.Tensor:
        """c·h + t."""
        if self.c is None:
            return t
        return self.weigh(h) if t is None else torch.addcmul(t, h, self._beside(h))

    def _beside(self, h: torch.Tensor) -> torch.Tensor:
        if h.dim() == 0:
            return self.c.reshape(()).to(h.dtype)
        return self.rows(h.shape[0]).to(h.dtype).reshape(-1, *(1,) * (h.dim() - 1))

    def channel_sum(self, delta: torch.Tensor, dim: int) -> torch.Tensor | None:
        """Σ c·δ over everything but `dim` > 0, in float32 at least."""
        if self.c is None:
            return None
        wide = torch.promote_types(delta.dtype, torch.float32)
        others = [i for i in range(1, delta.dim()) if i != dim]
        per_row = delta.sum(others, dtype=wide) if others else delta.to(wide)  # [rows, K]
        return self.rows(delta.shape[0]).to(wide) @ per_row

    def sum_to(self, delta: torch.Tensor, shape: Sequence[int]) -> torch.Tensor | None:
        """Σ c·δ over the dimensions along which a tensor of `shape` was broadcast."""
        return None if self.c is None else self.weigh(delta).sum_to_size(shape)


def assemble(
    operators: Sequence[RecordedOperator], last: int, edges: dict[int, GradientEdge]
) -> tuple[list[RecordedOperator], dict[int, int], list[GradientEdge]]:
    """The operators that lead to value `last`, with places for their δ; their uses; the edges."""
    lead, needed = [], {last}
    for op in reversed(operators):
        if not needed.isdisjoint(op.outputs):
            needed.update(op.inputs)
            lead.append(op)
    uses: dict[int, int] = {last: 1}
    for op in lead:
        for value in op.inputs:
            uses[value] = uses.get(value, 0) + 1
    places: dict[int, int] = {}  # value → place of its δ
    feeds: set[int] = set()  # values whose tangent a later operator reads
    for i, op in enumerate(lead):
        is_needed = not feeds.isdisjoint(op.outputs)
        gradients, place = op.gradients, None
        if gradients is not None:
            at = op.outputs[0]
            if op.gradients_inside is not None and uses[op.inputs[0]] == 1:
                gradients, at = op.gradients_inside, op.inputs[0]
            place = places.setdefault(at, len(places))
        if is_needed or gradients is not None:
            feeds.update(op.inputs)
        lead[i] = op._replace(gradients=gradients, delta=place, is_needed=is_needed)
    return lead[::-1], uses, [edges[value] for value in places]
