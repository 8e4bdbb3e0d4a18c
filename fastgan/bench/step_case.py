"""StepCase: one training step, the phases it is made of, and the ways to compute them.

A file `fastgan/bench/steps/<name>.py` holds `cases() -> Sequence[StepCase]`; nothing else lists it.
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
class Step:
    """One way to compute a step, built: networks, optimisers, a batch, and its phases.

    `phases[name]()` runs one phase whole (draw, forward, backward, optimiser) and returns, under
    names that all variants share, the loss and the gradients that the optimiser took: the tensors
    themselves, not copies, since the call is what is timed. A phase may return nothing ({}).
    Random numbers come from torch's global generator, drawn in the same order by all variants.
    `absent`: phases that this way does not have, and why; all others of the schedule are there.
    """

    phases: Mapping[str, Phase]
    absent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StepCase:
    """What is compared: `variants[name]()` builds a Step with the same initial parameters.

    `schedule`: phase → how often a step runs it (lazy regularisation: 1/16, say); every Step has
    these phases. Their weighted sum is the row "step", unless `is_summed` is False (phases that are
    no parts of a whole). `exact()`, where given, builds the step whose results are right: plain
    torch with its parameters in float64 (its phases run with float64 as default dtype and with
    draws of float32); otherwise the variant called `reference` is. Each phase of each variant is
    checked first, on a fresh build and under up to three seeds: ‖got - want‖ ≤ tolerance · ‖want‖
    for every tensor that the exact phase names, ‖want‖ at least 1e-2 of the largest of them, since
    rounding is all that there is below. `tolerances` holds one per variant, else it
    is 1e-3; `twice` names, for a variant in 16 bits, another in 16 bits: it may also err twice as
    much as that one.

    `ratios` are the pairs (other, base) reported as other / base, taken within a round: all over
    `native` if empty. `absent` says in words why a variant is not there at all. `--quick` takes
    cases with `is_quick` and, of these, the variants without "compile" in their name.
    """

    name: str
    variants: Mapping[str, Callable[[], Step]]
    schedule: Mapping[str, float]
    exact: Callable[[], Step] | None = None
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
