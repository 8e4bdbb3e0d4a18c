"""The training loop: steps, ticks, snapshots, and stopping well."""

import contextlib
import resource
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from fastgan.data import BatchLoader
from fastgan.metrics import Evaluator
from fastgan.training import checkpoint
from fastgan.training.config import TrainConfig
from fastgan.training.grids import fakes_name
from fastgan.training.interrupt import stop_requests
from fastgan.training.observer import Observer, RunInfo, Snapshot, Tick
from fastgan.training.parallel import Ranks
from fastgan.training.replica import replicate, shared_tensors
from fastgan.training.sampling import make_evaluator, measure, own_random_numbers, sample_grid
from fastgan.training.source import Loader, OwnRows, first_samples, open_dataset
from fastgan.training.state import Batch, TrainState, build_state
from fastgan.training.step import train_step

__all__ = [
    "Observer",
    "RunInfo",
    "Snapshot",
    "Tick",
    "TrainingDiverged",
    "is_tick_due",
    "sample_grid",
    "train",
]

_HARMLESS = {"total_kimg", "tick_kimg", "snapshot_every_ticks", "metrics", "metric_images"}
FIRST_TICK_STEPS = 3  # people want to see that it lives


class TrainingDiverged(FloatingPointError):
    """A loss or a weight became NaN or infinite. Nothing was saved since."""


def is_tick_due(nimg: int, batch: int, tick_kimg: float) -> bool:
    """Whether a tick ends with the step that reached nimg: at step 3, then every tick_kimg."""
    if nimg == FIRST_TICK_STEPS * batch:
        return True
    tick_nimg = tick_kimg * 1000
    return nimg // tick_nimg > (nimg - batch) // tick_nimg


def train(
    config: TrainConfig,
    run_dir: Path,
    *,
    resume: Path | None = None,
    observers: Sequence[Observer] = (),
    loader: Loader | None = None,
    ranks: Ranks | None = None,
    workers: int | None = None,
) -> TrainState:
    """Trains until `config.total_kimg` and returns the state; `state.reason` says why it ended.

    resume: a checkpoint to continue from, bit for bit on the CPU when config, data and thread
    count are the same; a config that differs is used as given. loader: batches from elsewhere
    (default: from `config.data`, decoded by `workers` threads); it gives whole batches, and its
    condition must be one-hot or real [N, c_dim], or empty. ranks: the processes that train together
    (`fastgan.training.parallel.join`), each calling this with equal arguments; rank 0 alone has
    observers, metrics and checkpoints. Each sample draws numbers of its own (`fastgan.draws`).

    SIGINT or SIGTERM lets the step finish, writes a checkpoint and returns with reason
    "interrupted"; a second SIGINT raises KeyboardInterrupt at once. TrainingDiverged at the tick
    after a loss became non-finite. CheckpointError where the checkpoint can't be read or written.
    """
    state = build_state(config)
    document = None if resume is None else checkpoint.load(state, resume)
    rank, size = (0, 1) if ranks is None else (ranks.rank, ranks.size)
    if resume is not None and rank == 0:
        checkpoint.set_aside_newer(run_dir, state.nimg)
    dataset, whole = None, loader
    if loader is None:
        dataset = open_dataset(config)
        is_mirrored = config.data.mirror
        loader = BatchLoader(
            dataset, config.batch, seed=config.seed, mirror=is_mirrored, device=config.device,
            workers=workers, part=(rank, size),
        )  # fmt: skip
        whole = loader.whole
    elif size > 1:
        loader = OwnRows(loader, rank, size)
    replicate(state, ranks)
    info = RunInfo(
        config=config,
        run_dir=run_dir,
        state=state,
        reals=lambda n: first_samples(whole, n),
        dataset_name=getattr(dataset, "name", type(loader).__name__),
        dataset_size=None if dataset is None else len(dataset),
        g_parameters=sum(p.numel() for p in state.G.parameters()),
        d_parameters=sum(p.numel() for p in state.D.parameters()),
        resumed_from=resume,
        resumed_kimg=state.kimg,
        changes=() if document is None else _changes_since(document, state),
    )
    evaluator = make_evaluator(state, dataset) if rank == 0 else None
    observers = observers if rank == 0 else ()
    return _Run(state, loader, evaluator, run_dir, observers, ranks).run(info)


class _Run:
    """One call of `train`: the clocks and the watchers around a state."""

    def __init__(
        self,
        state: TrainState,
        loader: Loader,
        evaluator: Evaluator | None,
        run_dir: Path,
        observers: Sequence[Observer],
        ranks: Ranks | None,
    ):
        self.state = state
        self.loader = loader
        self.evaluator = evaluator
        self.run_dir = run_dir
        self.observers = observers
        self.ranks = ranks
        self.is_first = ranks is None or ranks.is_first
        self.earlier_sec = state.elapsed_sec
        self.begin = self.tick_begin = self.tick_end = time.perf_counter()
        self.tick_nimg = state.nimg
        self.data_wait_sec = 0.0

    def run(self, info: RunInfo) -> TrainState:
        reason = "failed"
        self.run_dir.mkdir(parents=True, exist_ok=True)
        try:
            self._tell("on_start", info)
            with stop_requests() as stop:
                reason = self._steps(stop)
        except TrainingDiverged:
            reason = "diverged"
            raise
        except KeyboardInterrupt:
            reason = "interrupted"
            raise
        finally:
            self.state.reason = reason
            self._tell("on_end", reason)
        return self.state

    def _steps(self, stop: threading.Event) -> str:
        state, config = self.state, self.state.config
        self.tick_begin = time.perf_counter()
        last_saved = None
        while state.nimg < config.total_nimg:
            asked = time.perf_counter()
            x, c = self.loader.batch_at(state.nimg)
            self.data_wait_sec += time.perf_counter() - asked
            c = c.to(state.device) if state.G.c_dim else None
            train_step(state, Batch(x=x.to(state.device), c=c))
            self._tell("on_step", state.nimg)
            is_last = state.nimg >= config.total_nimg
            is_stopping = stop.is_set() if self.ranks is None else self._meet(stop.is_set())
            if is_last or is_tick_due(state.nimg, config.batch, config.tick_kimg):
                number = self._tick()
                if is_last or number % config.snapshot_every_ticks == 0:
                    with self._errand("a snapshot"):
                        self._snapshot(is_first=number == 0 and not is_last)
                    last_saved = state.nimg
                self.tick_begin = time.perf_counter()
            if is_stopping and not is_last:
                if last_saved != state.nimg:
                    with self._errand("the last checkpoint"):
                        self._save()
                return "interrupted"
        return "finished"

    def _meet(self, wants_stop: bool) -> bool:
        """With the other ranks after a step: whether one of them was asked to stop."""
        ranks, state = self.ranks, self.state
        is_stopping = ranks.step_ended(state.step, stop=wants_stop)
        if state.step % ranks.compare_every == 0:
            ranks.compare(dict(shared_tensors(state)), f"after step {state.step}")
        return is_stopping

    def _errand(self, what: str) -> contextlib.AbstractContextManager:
        """Around what rank 0 does alone, which the others then wait for."""
        return contextlib.nullcontext() if self.ranks is None else self.ranks.errand(what)

    def _tick(self) -> int:
        state = self.state
        losses = state.stats.read()  # waits for the device, so that the clock reads true
        now = time.perf_counter()
        self._require_finite(losses)
        kimg = (state.nimg - self.tick_nimg) / 1000
        seconds = now - self.tick_begin
        state.elapsed_sec = self.earlier_sec + now - self.begin
        number, state.tick = state.tick, state.tick + 1
        is_cuda = state.device.type == "cuda"
        self._tell(
            "on_tick",
            Tick(
                tick=number,
                kimg=state.kimg,
                total_sec=state.elapsed_sec,
                sec_per_tick=seconds,
                sec_per_kimg=seconds / kimg,
                img_per_sec=1000 * kimg / seconds,
                maintenance_sec=self.tick_begin - self.tick_end,
                data_wait_percent=100 * self.data_wait_sec / seconds,
                cpumem_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                gpumem_gb=torch.cuda.max_memory_allocated(state.device) / 2**30 if is_cuda else 0.0,
                augment=float(getattr(state.augment, "p", 0.0)),
                losses=losses,
                eta_sec=max(state.config.total_kimg - state.kimg, 0) * seconds / kimg,
            ),
        )
        state.stats.reset()
        if is_cuda:
            torch.cuda.reset_peak_memory_stats(state.device)
        self.tick_nimg, self.tick_end, self.data_wait_sec = state.nimg, now, 0.0
        return number

    def _snapshot(self, *, is_first: bool) -> None:
        state, path = self.state, self._save()
        if path is None:
            return
        has_metrics = self.evaluator is not None and not is_first
        snapshot = Snapshot(
            kimg=state.kimg,
            images=self.run_dir / fakes_name(state.kimg),
            checkpoint=path,
            metrics=measure(state, self.evaluator) if has_metrics else {},
        )
        self._tell("on_snapshot", snapshot)

    def _save(self) -> Path | None:
        self._require_finite(self.state.stats.read())
        if not self.is_first:
            return None
        self.state.elapsed_sec = self.earlier_sec + time.perf_counter() - self.begin
        return checkpoint.save(self.state, self.run_dir)

    def _require_finite(self, statistics: dict[str, float]) -> None:
        values = {name: torch.tensor(value) for name, value in statistics.items()}
        for prefix, network in (("G", self.state.G), ("D", self.state.D)):
            values |= {f"{prefix}.{name}": p for name, p in network.named_parameters()}
        broken = [name for name, value in values.items() if not bool(torch.isfinite(value).all())]
        if broken:
            newest = checkpoint.latest(self.run_dir)
            raise TrainingDiverged(
                f"train: {', '.join(broken[:4])}{' …' if len(broken) > 4 else ''} became NaN or "
                f"infinite before kimg {self.state.kimg:.3f}; nothing was saved since. The last "
                f"good checkpoint is {newest or 'none'}; resume it with a lower learning rate, a "
                "larger r1_gamma or another seed"
            )

    def _tell(self, event: str, argument: object) -> None:
        for observer in self.observers:
            with own_random_numbers(self.state):
                getattr(observer, event)(argument)


def _changes_since(document: dict[str, Any], state: TrainState) -> tuple[str, ...]:
    """What differs from the saved run and moves its numbers: settings, torch, threads, device."""
    old = document["config"] | {"environment": document["environment"]}
    new = state.config.to_dict() | {"environment": checkpoint.environment(state)}
    return tuple(_differences({k: old[k] for k in old.keys() - _HARMLESS},
                              {k: new[k] for k in new.keys() - _HARMLESS}, ""))  # fmt: skip


def _differences(old: dict[str, Any], new: dict[str, Any], where: str) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{where}{key}.")
        elif before != after:
            yield f"{where}{key}: {before} → {after}"
