# SPDX-License-Identifier: Apache-2.0
"""StepCase: one training step, the phases it is made of, and the variants that compute it.

A file `fastgan/bench/steps/<name>.py` or `models/<name>.py` has a function `cases()` that returns
a list of these.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

BASE = "native"
STEP = "step"  # the row of the whole step: Σ schedule[phase] · seconds of the phase

Phase = Callable[[], Mapping[str, Tensor]]

_draw: ContextVar[int] = ContextVar("fastgan_bench_draw", default=0)


@contextmanager
def drawn(seed: int) -> Iterator[None]:
    """Within the block, steps are built on data of this draw."""
    token = _draw.set(seed)
    try:
        yield
    finally:
        _draw.reset(token)


def data_generator() -> torch.Generator:
    """What a step draws the samples with that it takes for real: the same for all variants."""
    return torch.Generator().manual_seed(1000 + _draw.get())


@dataclass(frozen=True)
class StepVariant:
    """One variant of a step, ready to run: networks, optimisers, a batch, and its phases.

    Random numbers come from torch's global generator, drawn in the same order by all variants.

    Args:
        phases: name → a function that runs that phase whole (draw, forward, backward, optimiser)
            and returns, under names that all variants share, the loss and the gradients that the
            optimiser took: the tensors themselves, not copies, since the call is what is timed. A
            phase may return nothing ({}).
        absent: phases that this variant does not have, and why; it has all others of the schedule.
    """

    phases: Mapping[str, Phase]
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StepCase:
    """A step and the variants of it that are compared; a case file's `cases()` returns these.

    Each phase of each variant is checked before it is timed, on a fresh build and under up to three
    seeds: ‖got - want‖ ≤ tolerance · ‖want‖ for every tensor that the exact phase names, where
    ‖want‖ is at least 1e-2 of the largest of them, since there is only rounding below.

    Args:
        name: of the case, in tables.
        variants: name → a function that builds it, with the same initial parameters for all.
        schedule: phase → how often a step runs it (lazy regularisation: 1/16, say).
        exact: builds the step whose results are right: plain torch with its parameters in float64;
            its phases run with float64 as default dtype and draw in float32. Default: the variant
            called `reference` is right.
        reference: name of that variant.
        tolerances: variant → its tolerance, 1e-3 if it is not named.
        twice: variant → another, as a rule of the same precision: the variant may also err at most
            twice as much as that one.
        ratios: pairs (other, base), reported as other / base, taken within a round. Default: every
            other variant over `native`.
        absent: variant → why it is not there at all.
        is_quick: `--quick` takes this case, without the variants with "compile" in their name.
        is_summed: the weighted sum of the phases is reported as the row "step"; False where the
            phases are no parts of a whole.

    Raises:
        ValueError: when there is nothing to check against, a weight of the schedule is not positive
            and finite, or `tolerances`, `twice` or `ratios` name a variant that is not there.
    """

    name: str
    variants: Mapping[str, Callable[[], StepVariant]]
    schedule: Mapping[str, float]
    exact: Callable[[], StepVariant] | None = None
    reference: str = "reference"
    tolerances: Mapping[str, float] = field(default_factory=dict)
    twice: Mapping[str, str] = field(default_factory=dict)
    ratios: Sequence[tuple[str, str]] = ()
    absent: Mapping[str, str] = field(default_factory=dict)
    is_quick: bool = False
    is_summed: bool = True

    def __post_init__(self) -> None:
        def refuse(what: str) -> None:
            raise ValueError(f"StepCase {self.name}: {what}; it has {', '.join(self.variants)}")

        if self.exact is None and self.reference not in self.variants:
            refuse(f"no variant {self.reference!r} to check against and no exact()")
        if not self.schedule or not all(
            weight > 0 and math.isfinite(weight) for weight in self.schedule.values()
        ):
            refuse(f"schedule must map phases to positive numbers, got {dict(self.schedule)}")
        named = {name for pair in (*self.ratios, *self.twice.items()) for name in pair}
        if unknown := sorted((named | set(self.tolerances)) - set(self.variants)):
            refuse(f"ratios, tolerances or twice name {unknown[0]!r}, which is no variant")

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """`ratios`, or every other variant over BASE (over the first, where there is no BASE)."""
        if self.ratios:
            return list(self.ratios)
        base = BASE if BASE in self.variants else next(iter(self.variants))
        return [(name, base) for name in self.variants if name != base]

    def tolerance(self, variant: str) -> float:
        return self.tolerances.get(variant, 1e-3)
