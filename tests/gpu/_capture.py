# SPDX-License-Identifier: Apache-2.0
"""A training phase recorded as a CUDA graph, and the comparison that such a recording must pass.

`record` turns phase(state, batch) into something that is called without arguments, again and again:
on CUDA the replay of one graph of the whole phase, elsewhere the phase itself. `compare` runs a
phase both ways from the same tensors and the same state of the generator, several rounds on end,
and changes between the rounds, in place, everything that a step may change: batch, learning rates,
ADA's p, the penalties' scale, the EMA weight. A recording that froze any of them differs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from fastgan.training.optim.flat_optimizer import FlatOptimizer
from fastgan.training.step.batch import Batch
from fastgan.training.step.capture import WARM_UPS, CudaGraphs
from fastgan.training.step.phases import PhaseFn
from fastgan.training.step.state import TrainState

# Where the eager phase itself is not repeatable (the backward pass of grid_sample adds atomically),
# a recording may differ from it by this many times as much as it differs from itself. Two runs may
# agree by chance, and Adam steps on whatever a gradient near 0 is: on an H200 eager StyleGAN2
# differed from itself by 1.9e-2 in one phase and by 5e-7 in its sister. So there is a least
# allowance; what a recording froze differs by a quarter and more.
TIMES_EAGER = 4.0
LEAST_ALLOWANCE = 1e-2

Recorder = Callable[[PhaseFn, TrainState, Batch], Callable[[], None]]
Values = dict[str, Tensor]


@dataclass(frozen=True)
class Difference:
    """One tensor after one round.

    relative: ‖captured - eager‖ / ‖eager - start of the round‖; eager_relative: the same between
    two eager runs; allowed: the largest `relative` that is not wrong.
    """

    tensor: str
    round: int
    max_abs: float
    relative: float
    eager_relative: float
    allowed: float

    @property
    def is_wrong(self) -> bool:
        return not self.relative <= self.allowed  # NaN is wrong too


@dataclass(frozen=True)
class Comparison:
    """`differences`: every tensor that is not equal bit for bit. `is_repeatable`: eager is."""

    tensors: int
    rounds: int
    is_repeatable: bool
    differences: tuple[Difference, ...]

    @property
    def wrong(self) -> tuple[Difference, ...]:
        return tuple(d for d in self.differences if d.is_wrong)


def record(phase: PhaseFn, state: TrainState, batch: Batch) -> Callable[[], None]:
    """`phase(state, batch)` to be called again and again: see the module's docstring.

    Changes the state: the warm-up trains. Gradients are set to 0 before the capture. Whoever
    replays writes new values into the tensors of `state` and `batch`, never new tensors.
    """
    call = partial(phase, state, batch)
    if state.device.type != "cuda":
        return call
    graphs = CudaGraphs(state.device)
    for _ in range(WARM_UPS):
        graphs.warm_up(call)
    drop_gradients(state)
    return graphs.capture(call)


def compare(
    state: TrainState,
    phase: PhaseFn,
    batches: Sequence[Batch],
    *,
    recorder: Recorder = record,
) -> Comparison:
    """Run `phase` one round per batch: twice eagerly and once as `recorder` made it. Round 0 has
    the state's own settings. The state ends as it began.
    """
    batch = Batch(batches[0].x.clone(), None if batches[0].c is None else batches[0].c.clone())
    start = snapshot(state)

    def rounds(call: Callable[[], None]) -> list[Values]:
        restore(state, start)
        seen = []
        for i, values in enumerate(batches):
            _write(batch, values)
            vary(state, start, i)
            call()
            seen.append(snapshot(state))
        return seen

    drop_gradients(state)
    eager = rounds(lambda: phase(state, batch))
    drop_gradients(state)
    again = rounds(lambda: phase(state, batch))
    _write(batch, batches[0])
    restore(state, start)
    captured = rounds(recorder(phase, state, batch))
    restore(state, start)
    drop_gradients(state)
    is_repeatable = all(
        same_bits(a[name], b[name]) for a, b in zip(eager, again, strict=True) for name in a
    )
    found = []
    for i in range(len(batches)):
        before = eager[i - 1] if i else start
        found += _differences(i, before, eager[i], again[i], captured[i], is_repeatable)
    return Comparison(len(eager[-1]), len(batches), is_repeatable, tuple(found))


def vary(state: TrainState, start: Values, i: int) -> None:
    """Settings of round i, written in place; those of round 0 are the start's."""
    if i == 0:
        return
    for name, optimizer in _optimizers(state):
        for group in optimizer.param_groups:
            group["lr"].copy_(start[f"{name}.lr"] * 0.5**i)
    state.gamma_scale.copy_(start["gamma_scale"] * 0.75**i)
    state.ema_weight.copy_(start["ema_weight"] * 0.5**i)
    if hasattr(state.augment, "p"):
        state.augment.p.fill_(min(0.3 * i, 1.0))


def persistent_tensors(state: TrainState) -> Values:
    """Every tensor that a phase may read or write, under a name; no gradients."""
    return {entry.name: entry.tensor for entry in state.tensors()}


def snapshot(state: TrainState) -> Values:
    """Copies of `persistent_tensors`, of the gradients that there are, and of the generator."""
    tensors = persistent_tensors(state)
    for field in ("G", "D"):
        for name, p in getattr(state, field).named_parameters():
            if p.grad is not None:
                tensors[f"{field}.{name}.grad"] = p.grad
    copies = {name: t.detach().clone() for name, t in tensors.items()}
    return copies | {"generator": _generator_state(state)}


@torch.no_grad()
def restore(state: TrainState, values: Values) -> None:
    """Writes a snapshot back, in place; gradients are left alone."""
    for name, tensor in persistent_tensors(state).items():
        tensor.copy_(values[name])
    if state.device.type == "cuda":
        torch.cuda.set_rng_state(values["generator"], state.device)
    else:
        torch.set_rng_state(values["generator"])


def drop_gradients(state: TrainState) -> None:
    for _, optimizer in _optimizers(state):
        optimizer.zero_grad()


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal to the last bit, NaN included."""
    views = [t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
    return a.shape == b.shape and torch.equal(*views)


def allowance(eager_relative: float, is_repeatable: bool) -> float:
    """How much of its change a tensor may differ by; `is_repeatable`: the whole eager phase is."""
    return 0.0 if is_repeatable else max(TIMES_EAGER * eager_relative, LEAST_ALLOWANCE)


def _differences(
    i: int, before: Values, eager: Values, again: Values, captured: Values, is_repeatable: bool
) -> Iterator[Difference]:
    for name in sorted(eager.keys() | captured.keys()):
        if name not in eager or name not in captured:  # a gradient that only one way leaves
            yield Difference(name, i, float("nan"), float("nan"), 0.0, 0.0)
        elif not same_bits(eager[name], captured[name]):
            want, got, other = (v[name].double() for v in (eager, captured, again))
            moved = (want - before[name].double()).norm() if name in before else want.norm()
            relative, spread = (((x - want).norm() / moved).item() for x in (got, other))
            largest = (got - want).abs().max().item()
            yield Difference(name, i, largest, relative, spread, allowance(spread, is_repeatable))


def _generator_state(state: TrainState) -> Tensor:
    if state.device.type == "cuda":
        return torch.cuda.get_rng_state(state.device)
    return torch.get_rng_state()


def _optimizers(state: TrainState) -> list[tuple[str, FlatOptimizer]]:
    return [("g_optimizer", state.g_optimizer), ("d_optimizer", state.d_optimizer)]


def _write(batch: Batch, values: Batch) -> None:
    batch.x.copy_(values.x)
    if batch.c is not None:
        batch.c.copy_(values.c)
