# SPDX-License-Identifier: Apache-2.0
"""What a run does about NaN and infinite numbers: it skips, rolls back, and in the end stops.

1. The optimisers skip an update whose gradient is not finite, on the device, and count its elements
   (`FlatOptimizer.nonfinite`). The step is counted and reported as an alarm.
2. After `max_in_a_row` such steps, or when a tick or a save finds a tensor of the state that is not
   finite, or a loss that no skipped step explains, the run restores its last snapshot in memory,
   which was finite when it was taken, and whose digest is checked. The optimisers start with new
   moments, both learning rates are halved, and noise and data continue where the lost steps ended,
   on another stream of random numbers, so that the same event can't simply happen again.
3. `calm_steps` steps later the last halving is undone. More than `max_rollbacks` rollbacks that
   were not undone end the run: `TrainingDiverged`, exit code 3 of `fastgan train`.

All decisions are in `TrainState.faults`, and so in checkpoints. No number is ever replaced.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fastgan.training.checkpoint import random_state
from fastgan.training.checkpoint.background import Background
from fastgan.training.checkpoint.contents import (
    Contents,
    StagingBuffers,
    broken_tensors,
    fill,
    stage,
)
from fastgan.training.distributed.ending import RaisedByAllRanks
from fastgan.training.loop.observer import Alarm
from fastgan.training.step.fault_record import FaultRecord
from fastgan.training.step.state import TrainState

__all__ = ["FaultGuard", "FaultPolicy", "TrainingDiverged"]

_LAG = 2  # steps after which a GPU's counters are read: by then the copy has ended


class TrainingDiverged(RaisedByAllRanks, FloatingPointError):
    """Losses or weights became NaN or infinite again and again; nothing was saved since."""


@dataclass(frozen=True, kw_only=True)
class FaultPolicy:
    """When a run rolls back after NaN, and when it stops.

    Args:
        max_in_a_row: skipped steps in a row after which the run rolls back, >= 1; default 3.
        max_rollbacks: rollbacks that count at a time, >= 0; one more ends the run; default 3.
        calm_steps: steps after which a rollback no longer counts, >= 1; default 1000.

    Raises:
        ValueError: when a value is out of range.
    """

    max_in_a_row: int = 3
    max_rollbacks: int = 3
    calm_steps: int = 1000

    def __post_init__(self):
        for name, least in (("max_in_a_row", 1), ("max_rollbacks", 0), ("calm_steps", 1)):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least):
                raise ValueError(f"FaultPolicy.{name}: expected a number >= {least}, got {value!r}")


class _Snapshot(NamedTuple):
    contents: Contents
    digest: list[str]  # one item, once it is known


class FaultGuard:
    """Carries out a `FaultPolicy` in one run.

    Call `start` first, `after_step` after every step, `check` before a tick is reported and before
    anything is saved, and `snapshot` after every tick. `after_step` and `check` return whether they
    rolled the state back.

    Args:
        state: of the run.
        policy: its limits.
        notify: called with every alarm.
        last_good: names the last good checkpoint, for the message of TrainingDiverged.
    """

    def __init__(
        self,
        state: TrainState,
        policy: FaultPolicy,
        *,
        notify: Callable[[Alarm], None],
        last_good: Callable[[], str],
    ) -> None:
        self.state, self.policy = state, policy
        self._notify, self._last_good = notify, last_good
        self._buffers = StagingBuffers()
        self._hashing = Background("fastgan-snapshot")
        self._snapshot: _Snapshot | None = None
        self._counts = _NonfiniteCounts(state)
        self._skipped_before = state.faults.skipped

    def start(self) -> None:
        """Takes the first snapshot. TrainingDiverged if the state is not finite already."""
        broken = broken_tensors(self.state)
        if broken:
            raise self._diverged(f"{_some(broken)} are NaN or infinite before the first step")
        self._counts.reset()
        self.snapshot()

    def snapshot(self) -> Contents:
        """Takes the snapshot to roll back to, of a state that `check` found finite; returns it."""
        contents = stage(self.state, self._buffers)
        digest: list[str] = []
        self._hashing.start(lambda: digest.append(contents.digest()))
        self._snapshot = _Snapshot(contents, digest)
        self._skipped_before = self.state.faults.skipped
        return contents

    def after_step(self) -> bool:
        """Counts a skipped step; on a GPU one of _LAG steps ago, without waiting for the device."""
        return self._count(self._counts.after_step())

    def check(self) -> bool:
        """Checks the whole state and the losses; waits for the device."""
        for found in self._counts.drain():
            if self._count(found):
                return True
        broken = broken_tensors(self.state) + self._unexplained_losses()
        if broken:
            self._roll_back(f"{_some(broken)} became NaN or infinite")
            return True
        self._recover()
        return False

    def go_back(self, reason: str) -> None:
        """Restores the last snapshot, for a reason other than NaN, under the same limits.

        Args:
            reason: in words, for the alarm.

        Raises:
            TrainingDiverged: when the run has gone back `max_rollbacks` times already.
        """
        self._roll_back(reason)

    def _count(self, elements: int) -> bool:
        faults, state = self.state.faults, self.state
        if elements == 0:
            faults.in_a_row = 0
            return False
        faults.skipped += 1
        faults.in_a_row += 1
        self._alarm(
            "skipped",
            f"{elements} NaN or infinite gradient elements by step {state.step}; their update was "
            f"skipped ({faults.in_a_row} in a row, {faults.skipped} in total)",
        )
        if faults.in_a_row < self.policy.max_in_a_row:
            return False
        self._roll_back(f"gradients were NaN or infinite in {faults.in_a_row} steps in a row")
        return True

    def _unexplained_losses(self) -> list[str]:
        """Statistics that were not finite although no step was skipped, or not once finite."""
        has_skipped = self.state.faults.skipped > self._skipped_before
        found = self.state.stats.read_broken()
        return [name for name, (_, finite) in found.items() if finite == 0 or not has_skipped]

    def _roll_back(self, reason: str) -> None:
        state, old, snapshot = self.state, self.state.faults, self._snapshot
        assert snapshot is not None, "FaultGuard: start() first"
        if old.rollbacks >= self.policy.max_rollbacks:
            raise self._diverged(f"{reason}, after {old.rollbacks} rollbacks")
        kimg, position = state.kimg, state.position
        self._hashing.wait()
        contents = snapshot.contents
        if snapshot.digest != [contents.digest()]:
            raise self._diverged(f"{reason}, and the snapshot in memory is damaged")
        fill(state, contents.tensors, contents.values)
        state.g_optimizer.reset()
        state.d_optimizer.reset()
        state.faults = FaultRecord(
            skipped=old.skipped,
            rollbacks=old.rollbacks + 1,
            stream=old.stream + 1,
            skipped_nimg=position - state.nimg,
            calm_since=state.step,
        )
        random_state.advance(state.config.seed, state.faults.stream, state.nimg)
        self._counts.reset()
        self._skipped_before = old.skipped
        self._alarm(
            "rollback",
            f"{reason}; the run went back to kimg {state.kimg:.3f}, with new optimiser moments, "
            f"learning rates times {state.faults.lr_factor:g}, and other noise and data (rollback "
            f"{old.rollbacks + 1} of {self.policy.max_rollbacks})",
            kimg=kimg,
        )

    def _recover(self) -> None:
        state, faults = self.state, self.state.faults
        if faults.rollbacks == 0 or state.step - faults.calm_since < self.policy.calm_steps:
            return
        faults.rollbacks -= 1
        faults.calm_since = state.step
        self._alarm(
            "recovered",
            f"no fault in {self.policy.calm_steps} steps; the learning rates are the schedule's "
            f"times {faults.lr_factor:g} again",
        )

    def _alarm(self, kind: str, message: str, *, kimg: float | None = None) -> None:
        self._notify(
            Alarm(kimg=self.state.kimg if kimg is None else kimg, kind=kind, message=message)
        )

    def _diverged(self, reason: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"train: {reason}, at kimg {self.state.kimg:.3f}; nothing was saved since then. The "
            f"last good checkpoint is {self._last_good()}; resume from it with a lower learning "
            "rate, a larger r1_gamma or another seed"
        )


class _NonfiniteCounts:
    """Growth of the optimisers' `nonfinite` from step to step, read without waiting for a GPU.

    On a GPU the count of a step is always known _LAG steps later, whatever the timing, so that all
    ranks act in the same step.
    """

    def __init__(self, state: TrainState) -> None:
        optimizers = (state.g_optimizer, state.d_optimizer)
        counters = [getattr(optimizer, "nonfinite", None) for optimizer in optimizers]
        self._counters: list[Tensor] = [c for c in counters if c is not None]
        self._is_cuda = state.device.type == "cuda"
        self._pending: list[tuple[Tensor, torch.cuda.Event | None]] = []
        self._last = 0

    def reset(self) -> None:
        self._pending.clear()
        self._last = sum(int(c) for c in self._counters)

    def after_step(self) -> int:
        """Elements in the step just made; on a GPU, in the one _LAG steps ago."""
        if not self._counters:
            return 0
        if not self._is_cuda:
            return self._grown(sum(int(c) for c in self._counters))
        values = torch.stack(self._counters).to("cpu", non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._pending.append((values, event))
        return self._oldest() if len(self._pending) > _LAG else 0

    def drain(self) -> list[int]:
        """The counts that are not known yet, oldest first; waits for the device."""
        return [self._oldest() for _ in range(len(self._pending))]

    def _oldest(self) -> int:
        values, event = self._pending.pop(0)
        if event is not None:
            event.synchronize()
        return self._grown(int(values.sum()))

    def _grown(self, total: int) -> int:
        grown, self._last = total - self._last, total
        return grown


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (" …" if len(names) > 4 else "")
