# SPDX-License-Identifier: Apache-2.0
"""`HealthWatch`: looks at a training every LOOK_EVERY steps, and says when something is wrong."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import partial
from math import isfinite, nan
from typing import Any

from fastgan import json_forms
from fastgan.json_forms import FormError
from fastgan.training.step.batch import Batch
from fastgan.training.step.health.readings import Logits, Probe, Reading
from fastgan.training.step.health.rules import RULES, Words
from fastgan.training.step.picks import Picks
from fastgan.training.step.state import StepState

__all__ = ["LOOK_EVERY", "Finding", "HealthWarning", "HealthWatch"]

LOOK_EVERY = 25  # steps
_CALM_LOOKS = 8  # without a fault, after which its alarm is over
_KEPT = 400  # readings: 10,000 steps
_VERSION = 1  # of `HealthWatch.history`


class HealthWarning(UserWarning):
    """A training is not healthy: `TrainStep` warns with it, once for each fault."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A fault that a look found, or one that is over.

    Args:
        kind: of the rule, such as "collapse".
        message: what is wrong and what to try, in sentences.
        is_fatal: whether a training seldom recovers from it.
        is_over: whether the fault is no longer seen.
    """

    kind: str
    message: str
    is_fatal: bool
    is_over: bool = False

    @property
    def told(self) -> dict[str, str | bool]:
        """What an alarm says of it."""
        return {"kind": self.kind, "message": self.message, "is_over": self.is_over}


class HealthWatch:
    """Looks at one training state before its steps.

    Args:
        state: of the training, which no look changes.
        words: what the person can change, by name.
        without: kinds of rules that are left out.
        held_out: real samples that the training never sees, for the rule on an overfitting D.
        num_samples: of the data set, for the same rule; default None: not known.
    """

    def __init__(
        self,
        state: StepState,
        words: Words,
        *,
        without: Collection[str] = (),
        held_out: Batch | None = None,
        num_samples: int | None = None,
    ):
        self._make_probe = partial(Probe, state, held_out=held_out, num_samples=num_samples)
        self._probe = self._make_probe()
        self._state, self._words = state, words
        self._rules = [rule for rule in RULES if rule.kind not in without]
        self._last_seen: dict[str, int] = {}  # kind of each standing fault → number of the look
        self._looks = 0
        self.readings: list[Reading] = []

    @property
    def standing(self) -> tuple[str, ...]:
        """Kinds of the faults that are not over."""
        return tuple(self._last_seen)

    @property
    def logits(self) -> Logits | None:
        """D's logits at the newest look; None before the first one at the networks."""
        return self._probe.logits

    def before_step(self, batch: Batch | Picks) -> list[Finding]:
        """Looks at the state where a look is due; call it before each step.

        Waits for the device at a look, and else not.

        Args:
            batch: of the step that comes.

        Returns:
            What is new: faults that were not there at the last look, and those that are over.
        """
        if self._state.step % LOOK_EVERY != 0:
            return []
        if isinstance(batch, Picks):
            batch = batch.batch()
        self.readings.append(self._probe.read(batch))
        del self.readings[:-_KEPT]
        self._looks += 1
        found = []
        for rule in self._rules:
            if rule.finds(self.readings):
                if rule.kind not in self._last_seen:
                    message = rule.says(self.readings, self._words)
                    found.append(Finding(kind=rule.kind, message=message, is_fatal=rule.is_fatal))
                self._last_seen[rule.kind] = self._looks
            elif self._looks - self._last_seen.get(rule.kind, self._looks) >= _CALM_LOOKS:
                del self._last_seen[rule.kind]
                steps = _CALM_LOOKS * LOOK_EVERY
                message = f"{rule.kind} was not seen for {steps} steps and is taken to be over"
                found.append(Finding(kind=rule.kind, message=message, is_fatal=False, is_over=True))
        return found

    def history(self) -> dict[str, Any]:
        """The looks so far and the faults that stand, as JSON values, for a checkpoint.

        Returns:
            {"version", "looks": their number, "last_seen": kind → number of the look, "readings":
            field of `Reading` → its values, to six digits, with None for what is not finite}.
        """
        columns = {f.name: [getattr(r, f.name) for r in self.readings] for f in fields(Reading)}
        readings = {name: [_to_json(v) for v in values] for name, values in columns.items()}
        return {
            "version": _VERSION,
            "looks": self._looks,
            "last_seen": dict(self._last_seen),
            "readings": readings,
        }

    def restore(self, history: dict[str, Any]) -> None:
        """Takes over the looks of an earlier process and the faults that stood then.

        Looks at or after the state's step are left out. Faults that stand are not told again. The
        first look after it knows no moves.

        Args:
            history: of `history`. One of another version, or an empty one, is left out: no training
                depends on it.
        """
        names = {f.name for f in fields(Reading)}
        try:
            _FORM(history, "")
        except FormError:
            return
        lengths = {len(values) for values in history["readings"].values()}
        if history["readings"].keys() != names or len(lengths) != 1:
            return
        if any(type(step) is not int for step in history["readings"]["step"]):
            return
        columns = [[nan if v is None else v for v in values]
                   for values in history["readings"].values()]  # fmt: skip
        rows = zip(*columns, strict=True)
        readings = [Reading(**dict(zip(history["readings"], row, strict=True))) for row in rows]
        self.readings = [r for r in readings if r.step < self._state.step]
        self._looks = history["looks"]
        kinds = {rule.kind for rule in self._rules}
        self._last_seen = {k: n for k, n in history["last_seen"].items() if k in kinds}

    def restart(self) -> None:
        """Forgets what was read after the state's step: the state was set back, or loaded."""
        self._probe = self._make_probe()
        self.readings = [r for r in self.readings if r.step < self._state.step]
        self._last_seen.clear()


def _of_a_look(value: Any, where: str) -> None:
    """The form of a number that `_to_json` gives."""
    if type(value) is not bool:
        json_forms.maybe(json_forms.number())(value, where)


_FORM = json_forms.fields({
    "version": json_forms.one_of(_VERSION),
    "looks": json_forms.whole(),
    "last_seen": json_forms.table(json_forms.whole()),
    "readings": json_forms.table(json_forms.rows(_of_a_look)),
})  # fmt: skip


def _to_json(value: float) -> float | None:
    if isinstance(value, int):  # a bool, too
        return value
    return float(f"{value:.6g}") if isfinite(value) else None
