# SPDX-License-Identifier: Apache-2.0
"""Check every phase of every variant of a step, then measure them in turns."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fastgan.bench.measure.memory_use import page_faults, peak_live_bytes
from fastgan.bench.measure.timer import Protocol, Samples, measure
from fastgan.bench.step_case import STEP, StepCase, StepVariant, drawn

_SEEDS = (1, 2, 3)
# Smaller norms are checked as if they were this part of the largest norm of their phase: what
# cancels over all pixels carries the rounding of everything before it. At the tolerance of 1e-3
# that allows 1e-5 of the largest norm, a hundred eps of float32.
_FLOOR = 1e-2
_FAULT_CALLS = 1

Results = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One phase of a case, or its weighted sum (`phase` STEP), over all variants.

    `seconds`: variant → one entry per round; `failures`: variant → words, and no seconds then.
    `peak_bytes`: most bytes of live tensors; `faults`: page faults per call. Of the sum, the
    largest peak of its phases and the weighted sum of the faults.
    """

    case: StepCase
    phase: str
    seconds: Mapping[str, list[float]]
    failures: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)
    peak_bytes: Mapping[str, int] = field(default_factory=dict)
    faults: Mapping[str, float] = field(default_factory=dict)

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, name: str, base: str) -> float:
        return statistics.median(Samples(self.seconds).ratios(name, base))


def without_compile(case: StepCase) -> StepCase:
    """The case without the variants that take minutes to compile."""
    variants = {n: build for n, build in case.variants.items() if "compile" not in n}
    ratios = [pair for pair in case.ratios if set(pair) <= set(variants)]
    tolerances = {n: value for n, value in case.tolerances.items() if n in variants}
    twice = {n: other for n, other in case.twice.items() if {n, other} <= set(variants)}
    return replace(case, variants=variants, ratios=ratios, tolerances=tolerances, twice=twice)


def find_wrong(case: StepCase, phase: str, variants: Iterable[str]) -> dict[str, str]:
    """Checks the results of one phase against the exact step.

    Wrong is what is wrong with each of three draws. One is not enough where second derivatives of
    leaky ReLUs are summed: they jump where a unit's sign flips, so that a single rounding moves
    them by 1e-3 in a few draws of a hundred, and by 1e-6 in the others. A bug is there in all.

    Args:
        case: of the step.
        phase: of its schedule.
        variants: names of those to check.

    Returns:
        Variant → what is wrong with it, for those that are wrong.
    """
    wrong = dict.fromkeys(variants, "")
    with _same_draws(wrong):
        for seed in _SEEDS:
            if not wrong:
                break
            with drawn(seed):  # R1 draws nothing itself: other samples are what makes another draw
                want = _exact(case, phase, seed)
                names = dict.fromkeys([*wrong, *(case.twice.get(n, n) for n in wrong)])
                errors = {name: _error(case, phase, name, want, seed) for name in names}
            found = {name: _objection(case, name, errors) for name in wrong}
            wrong = {name: why for name, why in found.items() if why}
    return wrong


def _same_draws(variants: Iterable[str]) -> AbstractContextManager:
    """Compiled code draws other random numbers than eager code, unless set to draw the same."""
    if not any("compile" in name for name in variants):
        return nullcontext()
    import torch._inductor.config

    return torch._inductor.config.patch(fallback_random=True)


def _exact(case: StepCase, phase: str, seed: int) -> Results:
    """What `phase` must give, in float64."""
    if case.exact is None:
        return _results(case.variants[case.reference](), phase, seed)
    step = case.exact()
    with float64_draws():
        return _results(step, phase, seed)


class _Error(NamedTuple):
    """The largest error of a variant in one phase, of the norm of the tensor that has it."""

    value: float
    where: str


def _error(case: StepCase, phase: str, variant: str, want: Results, seed: int) -> _Error:
    """NaN where there is nothing to compare. An absent gradient means zeros."""
    step = case.variants[variant]()
    if phase not in step.phases:
        return _Error(*((0.0, "") if phase in step.absent else (math.nan, f"{phase} is missing")))
    got = _results(step, phase, seed)
    scale = max((x.norm().item() for x in want.values()), default=0.0)
    worst = _Error(0.0, "")
    for name, exact in want.items():
        actual = got.get(name, torch.zeros(()))
        if actual.dim() and actual.shape != exact.shape:
            shapes = f"{tuple(actual.shape)}, expected {tuple(exact.shape)}"
            return _Error(math.nan, f"{name} has shape {shapes}")
        error = (actual - exact).norm().item() / (max(exact.norm().item(), _FLOOR * scale) or 1.0)
        if not error <= worst.value:
            worst = _Error(error, f"{name} is off by {error:.2g} of its norm")
            if math.isnan(error):
                break
    return worst


def _objection(case: StepCase, variant: str, errors: Mapping[str, _Error]) -> str | None:
    """None if the variant is within its tolerance, or errs at most twice as much as another."""
    allowed = case.tolerance(variant)
    if variant in case.twice:
        allowed = max(allowed, 2 * errors[case.twice[variant]].value)
    value, where = errors[variant]
    if math.isnan(value):
        return where
    return None if value <= allowed else f"{where}, allowed is {allowed:.2g}"


def run_step_case(
    case: StepCase, protocol: Protocol, *, is_sized: bool = True
) -> Iterator[StepRow]:
    """Checks, then measures every phase of every variant.

    Args:
        case: of the step.
        protocol: threads and rounds.
        is_sized: also count live bytes and page faults.

    Yields:
        One StepRow for each phase, then one for their weighted sum, if the case has it.
    """
    with _same_draws(case.variants):  # what was checked is what is timed
        yield from _run(case, protocol, is_sized)


def _run(case: StepCase, protocol: Protocol, is_sized: bool) -> Iterator[StepRow]:
    failures: dict[str, dict[str, str]] = {}
    for phase in case.schedule:
        failures[phase] = find_wrong(case, phase, case.variants)
    steps = {name: build() for name, build in case.variants.items()}
    calls = {
        (phase, name): step.phases[phase]
        for phase in case.schedule
        for name, step in steps.items()
        if phase in step.phases and name not in failures[phase]
    }
    samples = measure(calls, protocol) if calls else Samples({})
    faults = {key: page_faults(call, _FAULT_CALLS) for key, call in calls.items() if is_sized}
    absent = {phase: _absent(case, phase, steps) for phase in case.schedule}
    del steps
    sizes = {}
    for name in case.variants if is_sized else ():
        sizes[name] = _peaks(case, name, [phase for phase, n in calls if n == name])
    rows = []
    for phase in case.schedule:
        here = [name for p, name in calls if p == phase]
        rows.append(
            StepRow(
                case=case,
                phase=phase,
                seconds={name: samples.seconds[phase, name] for name in here},
                failures=failures[phase],
                absent=absent[phase],
                peak_bytes={name: sizes[name][phase] for name in here if is_sized},
                faults={n: f for n in here if (f := faults.get((phase, n))) is not None},
            )
        )
    yield from rows
    if case.is_summed and len(rows) > 1:
        yield _sum(case, rows)


def _results(step: StepVariant, phase: str, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return {name: x.detach().double() for name, x in step.phases[phase]().items() if x is not None}


def _absent(case: StepCase, phase: str, steps: Mapping[str, StepVariant]) -> dict[str, str]:
    found = {name: step.absent[phase] for name, step in steps.items() if phase in step.absent}
    return dict(case.absent) | found


def _peaks(case: StepCase, name: str, phases: Sequence[str]) -> dict[str, int]:
    def build():
        step = case.variants[name]()
        return {phase: step.phases[phase] for phase in phases}

    return peak_live_bytes(build)


def _sum(case: StepCase, rows: list[StepRow]) -> StepRow:
    """Only of variants that have every phase, and every phase right."""
    names = [name for name in case.variants if all(name in row.seconds for row in rows)]
    weights = [case.schedule[row.phase] for row in rows]

    def weighted(values: list[float]) -> float:
        return sum(w * v for w, v in zip(weights, values, strict=True))

    rounds = range(min((len(row.seconds[n]) for row in rows for n in names), default=0))
    counted = [n for n in names if all(n in row.faults for row in rows)]
    sized = [n for n in names if all(n in row.peak_bytes for row in rows)]
    return StepRow(
        case=case,
        phase=STEP,
        seconds={n: [weighted([r.seconds[n][i] for r in rows]) for i in rounds] for n in names},
        absent=case.absent,
        peak_bytes={n: max(r.peak_bytes[n] for r in rows) for n in sized},
        faults={n: weighted([r.faults[n] for r in rows]) for n in counted},
    )


class _Float64Draws(TorchFunctionMode):
    """Random numbers are drawn in float32, as the variants draw them, then made float64."""

    _DRAWS = (torch.randn, torch.rand, torch.randn_like, torch.rand_like)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func not in self._DRAWS:
            return func(*args, **kwargs)
        return func(*args, **(kwargs | {"dtype": torch.float32})).double()


@contextmanager
def float64_draws() -> Iterator[None]:
    """Within the block new floating tensors are float64, and draws are those of float32."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64Draws():
            yield
    finally:
        torch.set_default_dtype(before)
