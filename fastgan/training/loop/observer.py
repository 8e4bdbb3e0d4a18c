"""What a training run tells its watchers: run folder files, progress bars, reports."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from fastgan.training.config.run import TrainConfig
from fastgan.training.step.state import TrainState

__all__ = ["Alarm", "Observer", "RunInfo", "Snapshot", "Tick"]


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What is known when training begins.

    reals: n → the first n real samples [n, ...] of the data set's shuffled order, on the CPU.
    changes: settings that differ from those of the checkpoint that is resumed, as
    "batch: 32 → 64"; empty means that the run continues bit for bit.
    """

    config: TrainConfig
    run_dir: Path
    state: TrainState
    reals: Callable[[int], Tensor]
    dataset_name: str
    dataset_size: int | None
    g_parameters: int
    d_parameters: int
    resumed_from: Path | None = None
    resumed_kimg: float = 0.0
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Means over the steps since the last tick.

    losses: "Loss/D", "Loss/G", "Logits/real", "Logits/fake", and the penalties in use ("Loss/r1",
    "Loss/r2", "Loss/gp", "Loss/pl": unweighted means). maintenance_sec is the time between the
    last tick's end and this one's first step; data_wait_percent the part of sec_per_tick that the
    step loop spent in the loader's batch_at, by the host's clock; augment is p; cpumem_gb the peak
    resident memory of the process; gpumem_gb the peak allocated since the last tick. Sizes are in
    GiB.
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
    losses: dict[str, float]
    eta_sec: float


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A NaN or an infinity, and what was done: kind is "skipped", "rollback" or "recovered"."""

    kimg: float
    kind: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A saved moment. `images` is where the picture of the grid belongs; `checkpoint` is being
    written in the background; `metrics` is {} where none were asked for, and at the first tick."""

    kimg: float
    images: Path
    checkpoint: Path
    metrics: dict[str, float] = field(default_factory=dict)


class Observer:
    """Base class of watchers; every method may be left out.

    Observers run between steps and see random numbers of their own: what they draw never changes
    the training. Their exceptions end it.
    """

    def on_start(self, info: RunInfo) -> None:
        """Before the first step."""

    def on_step(self, nimg: int) -> None:
        """After every step; nimg real images shown so far. Cheap work only, and no numbers from
        Python's and numpy's global generators, which the run may use."""

    def on_tick(self, tick: Tick) -> None:
        """After the first few steps, and then every `config.tick_kimg`."""

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """After a checkpoint was taken, every `config.snapshot_every_ticks` ticks and last."""

    def on_alarm(self, alarm: Alarm) -> None:
        """After a step that met a NaN or an infinity."""

    def on_end(self, reason: str) -> None:
        """Once: "finished", "interrupted", or "diverged" or "failed" (an exception follows)."""
