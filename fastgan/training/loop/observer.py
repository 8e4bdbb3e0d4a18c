# SPDX-License-Identifier: Apache-2.0
"""`Observer`: what a training run reports to log files, progress bars, pictures and pages."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastgan.metrics import MetricResult
from fastgan.training.checkpoint.transfer import CopiedWeights
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.health.readings import Logits
from fastgan.training.step.state import TrainState

__all__ = ["Alarm", "Observer", "RunInfo", "Snapshot", "Tick"]


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What is known when training begins.

    Args:
        config: of the run.
        run_dir: the run's folder.
        state: of the run, which training changes.
        reals: n → n real samples [n, ...] on the CPU, a tree of tensors: the first ones of the data
            set's shuffled order, or those whose conditions the snapshots have (`Modality.grid`).
        dataset_name: of the data set, or the loader's class.
        dataset_size: the number of samples; None for a loader of the user's.
        data_note: where they are kept and why; empty for a loader of the user's.
        data_remark: that images are few, equal or of one colour; empty where they are not.
        recompute_note: whether the backward pass makes maps again, and why.
        g_parameters: the number of parameters of G.
        d_parameters: the number of parameters of D.
        copied_weights: what a new run takes over from other weights; None where it starts from
            none.
        resumed_from: the checkpoint that the run continues; None for a new run.
        resumed_kimg: thousands of images that it had shown.
        changes: settings that differ from those of that checkpoint, as "batch: 32 → 64"; empty
            means that the run continues bit for bit.
    """

    config: TrainConfig
    run_dir: Path
    state: TrainState
    reals: Callable[[int], Any]
    dataset_name: str
    dataset_size: int | None
    g_parameters: int
    d_parameters: int
    data_note: str = ""
    data_remark: str = ""
    recompute_note: str = ""
    copied_weights: CopiedWeights | None = None
    resumed_from: Path | None = None
    resumed_kimg: float = 0.0
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Means over the steps since the last tick.

    Args:
        tick: its number, from 0.
        kimg: thousands of real images shown.
        total_sec: seconds of training so far, of earlier processes too.
        sec_per_tick: seconds from this tick's first step to its end.
        sec_per_kimg: seconds per thousand images.
        img_per_sec: images per second.
        maintenance_sec: seconds between the last tick's end and this one's first step.
        data_wait_percent: the part of sec_per_tick that the loop spent in the loader's batch_at, by
            the host's clock.
        cpumem_gb: the peak resident memory of the process, in GiB.
        gpumem_gb: the peak memory allocated on the GPU since the last tick, in GiB.
        augment: the augmentation's probability p.
        scheduled: what `TrainConfig.schedule` changes besides, at this moment:
            `StepConfig.scheduled_values`.
        losses: "Loss/D", "Loss/G", "Logits/real", "Logits/fake", and the penalties in use
            ("Loss/r1", "Loss/r2", "Loss/gp", "Loss/pl": means without their weights).
        eta_sec: estimated seconds until the run is finished.
        logits: D's at the newest look at the training's health, which may be older than the last
            tick; None before the first one.
    """

    tick: int
    kimg: float
    total_sec: float
    sec_per_tick: float
    sec_per_kimg: float
    img_per_sec: float
    maintenance_sec: float
    data_wait_percent: float = 0.0
    cpumem_gb: float
    gpumem_gb: float
    augment: float
    scheduled: dict[str, float] = field(default_factory=dict)
    losses: dict[str, float]
    eta_sec: float
    logits: Logits | None = None


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Something that is wrong with the training, or what was done about it.

    Args:
        kimg: thousands of real images shown.
        kind: "skipped" (an update had a NaN and was not applied), "rollback" (the run went back to
            the last snapshot in memory), "recovered" (the learning rates were raised again), or a
            rule of `fastgan.training.step.health.rules`, such as "collapse", or
            "quality-regression" (`fastgan.training.loop.quality`).
        message: the same in sentences, with what to try.
        is_over: whether the fault is no longer there.
    """

    kimg: float
    kind: str
    message: str
    is_over: bool = False


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A moment of the run of which a checkpoint was taken.

    Args:
        kimg: thousands of real images shown.
        samples: the path for the fakes' file, such as the picture of them.
        checkpoint: the path of the checkpoint, which is still being written in the background.
        metrics: name → result; empty where no metrics are configured, and at the first tick.
    """

    kimg: float
    samples: Path
    checkpoint: Path
    metrics: dict[str, MetricResult] = field(default_factory=dict)


class Observer:
    """Base class for what follows a run. A subclass overrides the methods that it needs.

    Observers run between steps, and the random generators are restored afterwards: what they draw
    never changes the training. Their exceptions end it.
    """

    def on_start(self, info: RunInfo) -> None:
        """Called before the first step.

        Args:
            info: what is known by then.
        """

    def on_step(self, nimg: int) -> None:
        """Called after every step, so it must be cheap.

        Only torch's generators are restored after it: draw no numbers from Python's and numpy's
        global generators, which the run may use.

        Args:
            nimg: real images shown so far.
        """

    def on_tick(self, tick: Tick) -> None:
        """Called after the first few steps, and then every `config.tick_kimg`.

        Args:
            tick: means since the last one.
        """

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Called after a checkpoint was taken: every `config.snapshot_every_ticks` ticks, and last.

        Args:
            snapshot: where it is.
        """

    def on_alarm(self, alarm: Alarm) -> None:
        """Called when something is found wrong, or is over.

        Args:
            alarm: what is wrong, or what was done.
        """

    def on_end(self, reason: str) -> None:
        """Called once, at the end.

        Args:
            reason: "finished" (at `total_kimg`, or after `minutes`), "interrupted" or "unhealthy"
                (stopped by `on_collapse`); "diverged" or "failed", after which the exception is
                raised.
        """
