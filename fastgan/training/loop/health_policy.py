# SPDX-License-Identifier: Apache-2.0
"""`HealthPolicy`: looks at a run's health between its steps; what the run does about it."""

from collections.abc import Callable
from typing import Any

from fastgan.training.loop.observer import Alarm
from fastgan.training.step.batch import Batch
from fastgan.training.step.health.readings import Logits
from fastgan.training.step.health.rules import Words
from fastgan.training.step.health.watch import Finding, HealthWatch
from fastgan.training.step.picks import Picks
from fastgan.training.step.state import TrainState

__all__ = ["END", "GO_BACK", "ON_COLLAPSE", "REGRESSION", "STOP", "HealthPolicy"]

ON_COLLAPSE = ("warn", "stop", "rollback")
REGRESSION = "quality-regression"  # the alarm of `judge`
# what a rank wishes after a step; 0: to go on, END: to end as asked, because the time is over
GO_BACK, END, STOP = 1, 2, 3


class HealthPolicy:
    """What `train(on_collapse=)` asks for, in one process of a run.

    The first process alone looks; the others do what it wishes.

    Args:
        state: of the run, which no look changes.
        words: the names of settings in alarms.
        on_collapse: one of ON_COLLAPSE.
        is_first: whether this process looks.
        held_out: real samples that the run never sees; default: none.
        num_samples: of the data set; default None: not known.
        notify: called with every alarm.
    """

    def __init__(
        self,
        state: TrainState,
        words: Words,
        on_collapse: str,
        *,
        is_first: bool,
        held_out: Batch | None = None,
        num_samples: int | None = None,
        notify: Callable[[Alarm], None],
    ):
        self._state, self._on_collapse, self._notify = state, on_collapse, notify
        # NaN in updates are FaultGuard's
        self._watch: HealthWatch | None = None
        if is_first:
            self._watch = HealthWatch(
                state, words, without=["skipped-updates"], held_out=held_out,
                num_samples=num_samples,
            )  # fmt: skip
        self._words, self._has_asked, self._is_worse = words, False, False
        self.collapse = ""  # the fatal fault that the run must act on

    @property
    def standing(self) -> str:
        """Kinds of the alarms that are not over, such as "collapse, G-grows"."""
        kinds = () if self._watch is None else self._watch.standing
        return ", ".join([*kinds, *([REGRESSION] if self._is_worse else [])])

    @property
    def logits(self) -> Logits | None:
        """D's logits at the newest look; None before the first one."""
        return None if self._watch is None else self._watch.logits

    def history(self) -> dict[str, Any]:
        """What a checkpoint keeps of the looks: JSON values."""
        return {} if self._watch is None else self._watch.history()

    def restore(self, history: dict[str, Any], regression: str | None) -> None:
        """Takes over the looks of an earlier process, and what it knew of the samples' quality.

        Args:
            history: of `history`; empty for a checkpoint that has none.
            regression: what `quality.regression` says of the run's checkpoints.
        """
        self._is_worse = regression is not None
        if self._watch is not None:
            self._watch.restore(history)

    def look(self, batch: Batch | Picks) -> None:
        """Tells of what is wrong with the training, and remembers a fatal fault to act on it.

        Args:
            batch: of the step that comes.
        """
        for finding in [] if self._watch is None else self._watch.before_step(batch):
            self._tell(finding)

    def judge(self, regression: str | None) -> None:
        """Tells that the samples got worse, or are no longer so; called after each measurement.

        Args:
            regression: what `quality.regression` says.
        """
        if (regression is not None) == self._is_worse:
            return
        self._is_worse = regression is not None
        message = "the newest snapshot is no longer worse than the best one"
        if regression is not None:
            message = (
                f"{regression}; end the run there, or resume from it with a smaller "
                f"{self._words.g_lr} and {self._words.d_lr}, a larger {self._words.gamma}, or "
                f"augmentation ({self._words.augment}) where there are few samples"
            )
        self._tell(
            Finding(kind=REGRESSION, message=message, is_fatal=False, is_over=not self._is_worse)
        )

    def wish(self) -> int:
        """What this process wishes after a step: 0, GO_BACK or STOP.

        GO_BACK is asked for once: other ranks hear of it a step later, and would go back twice.
        """
        if self.collapse and self._on_collapse == "stop":
            return STOP
        if self.collapse and not self._has_asked:
            self._has_asked = True
            return GO_BACK
        return 0

    def went_back(self) -> None:
        """Called after the state was rolled back: what was read since then is forgotten."""
        self.collapse, self._has_asked = "", False
        if self._watch is not None:
            self._watch.restart()

    def _tell(self, finding: Finding) -> None:
        self._notify(Alarm(kimg=self._state.kimg, **finding.told))
        if finding.is_fatal and self._on_collapse != "warn":
            self.collapse = f"{finding.kind}: {finding.message}"
