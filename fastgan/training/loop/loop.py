# SPDX-License-Identifier: Apache-2.0
"""`train`: the training loop, with its ticks and snapshots.

What may go wrong has files of its own: `faults` (NaN), `health_policy` (what is no NaN),
`interrupt` (signals) and `fastgan.training.checkpoint.saver` (disk).
"""

import contextlib
import math
import resource
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from fastgan._extras import require
from fastgan.data import BatchLoader
from fastgan.metrics import MetricResult, PartEvaluator
from fastgan.modalities import load_modality
from fastgan.training.checkpoint import checkpoint, random_state, retention
from fastgan.training.checkpoint.changes import changes_since
from fastgan.training.checkpoint.contents import Contents
from fastgan.training.checkpoint.retention import Score
from fastgan.training.checkpoint.saver import Saver
from fastgan.training.checkpoint.transfer import copy_weights
from fastgan.training.config.run import TrainConfig
from fastgan.training.distributed.ranks import Ranks
from fastgan.training.distributed.replica import replicate, shared_tensors
from fastgan.training.loop.data_remark import data_remark
from fastgan.training.loop.events import Events
from fastgan.training.loop.faults import FaultGuard, FaultPolicy, TrainingDiverged
from fastgan.training.loop.health_policy import END, GO_BACK, ON_COLLAPSE, STOP, HealthPolicy
from fastgan.training.loop.held_out import hold_out
from fastgan.training.loop.interrupt import StopRequest, stop_requests
from fastgan.training.loop.observer import Alarm, Observer, RunInfo, Snapshot, Tick
from fastgan.training.loop.owner import RunFolderInUse, owned
from fastgan.training.loop.quality import regression_of_run
from fastgan.training.loop.run_files import fakes_name
from fastgan.training.loop.sampling import make_evaluator, measure, sample_grid
from fastgan.training.loop.source import (
    CopyingLoader,
    Loader,
    RankLoader,
    first_samples,
    held_out_batch,
    open_dataset,
    step_input,
)
from fastgan.training.loop.ticks import is_tick_due
from fastgan.training.needs.recompute import choose_recompute
from fastgan.training.step.backends import backend_settings
from fastgan.training.step.health.readings import SAMPLES
from fastgan.training.step.health.rules import Words
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import GRID_SIZE, TrainState, build_state

__all__ = [
    "Alarm",
    "FaultPolicy",
    "Observer",
    "RunFolderInUse",
    "RunInfo",
    "Snapshot",
    "Tick",
    "TrainingDiverged",
    "sample_grid",
    "train",
]


def train(
    config: TrainConfig,
    run_dir: Path,
    *,
    resume: Path | None = None,
    observers: Sequence[Observer] = (),
    loader: Loader | None = None,
    faults: FaultPolicy | None = None,
    on_collapse: str = "warn",
    words: Words | None = None,
    ranks: Ranks | None = None,
    workers: int | None = None,
    minutes: float | None = None,
) -> TrainState:
    """Trains until `config.total_kimg`, or for `minutes`.

    Checkpoints are written in the background; the function returns, or raises what is not
    KeyboardInterrupt, when the last one is on the disk. After SIGINT or SIGTERM the step is
    finished, a checkpoint is written, and the function returns with the reason "interrupted". A
    second SIGTERM changes nothing; a second SIGINT raises KeyboardInterrupt at once (a checkpoint
    that is being written is still finished). Seeds torch's, Python's and numpy's generators. Each
    sample draws random numbers of its own (`fastgan.sample_rng`).

    Args:
        config: of the run. A new run starts with the weights of its `init_from`, where it has one
            (`start_from`).
        run_dir: folder of the run, made where it does not exist. Checkpoints go into its folder
            checkpoints/; all other files are the observers'.
        resume: a checkpoint to continue from: bit for bit on the CPU when config, data and thread
            count are the same. Where config differs from the saved one, config counts.
        observers: are called at the run's events, such as `RunLog()`.
        loader: batches of `config.batch` samples from elsewhere; default: from `config.data`. Its
            condition is [N, c_dim], one-hot or real, a tree of tensors, or None.
        faults: when to go back after NaN, and when to stop; default: `FaultPolicy()`.
        on_collapse: what follows an alarm from which a training seldom recovers, such as
            "collapse": "warn" (default): nothing but the alarm; "stop": the run is saved and ends;
            "rollback": it goes back to its last snapshot in memory, as after NaN and under the
            limits of `faults`.
        words: the names of settings in alarms; default: those of this function's config.
        ranks: the processes that train together (`fastgan.training.distributed.ranks.join`); each
            calls this function with equal arguments; they share the work of metrics, and rank 0
            alone has observers and checkpoints. Default: one process.
        workers: threads that decode images; default: chosen by `fastgan.data.BatchLoader`.
        minutes: the time of training after which the run is saved and ends, with the reason
            "finished", where `config.total_kimg` is not reached before; default: no limit.

    Returns:
        The state at the end. `state.reason` says why: "finished", "interrupted" or "unhealthy";
        `state.standing` which alarms stood.

    Raises:
        ValueError: when data and model, batch and ranks, or `config.init_from` and model do not
            fit, on_collapse is another word, or minutes is not positive.
        CheckpointError: when a checkpoint can't be read or written.
        RunFolderInUse: when another process is training in run_dir.
        TrainingDiverged: when there are more NaN than `faults` allows.

    Example:
        config = load_recipe("mlp")(resolution=(32, 32), total_kimg=10.0)
        state = train(config, Path("runs/first"), observers=[RunLog()])
    """
    if on_collapse not in ON_COLLAPSE:
        raise ValueError(
            f"train: on_collapse must be one of {', '.join(ON_COLLAPSE)}, got {on_collapse!r}"
        )
    if minutes is not None and not 0 < minutes < math.inf:
        raise ValueError(f"train: minutes must be positive and finite, or None, got {minutes}")
    require("safetensors", "train")  # now, and not at the first checkpoint
    with owned(run_dir) if ranks is None or ranks.is_first else contextlib.nullcontext():
        return _train(
            config, run_dir, resume, observers, loader, faults or FaultPolicy(), on_collapse,
            words or Words.of_config(), ranks, workers, minutes,
        )  # fmt: skip


def _train(
    config: TrainConfig,
    run_dir: Path,
    resume: Path | None,
    observers: Sequence[Observer],
    loader: Loader | None,
    faults: FaultPolicy,
    on_collapse: str,
    words: Words,
    ranks: Ranks | None,
    workers: int | None,
    minutes: float | None,
) -> TrainState:
    modality = load_modality(config.data.modality)
    dataset = open_dataset(config) if loader is None else None
    grid = None if dataset is None else modality.grid(dataset, GRID_SIZE)
    state = build_state(config, grid_c=None if grid is None else grid[1])
    random_state.seed_others(config.seed)
    document = None if resume is None else checkpoint.load(state, resume)
    is_transfer = resume is None and config.init_from is not None
    copied = copy_weights(state) if is_transfer else None
    rank, world_size = (0, 1) if ranks is None else (ranks.rank, ranks.world_size)
    if resume is not None and rank == 0:
        retention.set_aside_newer(run_dir, state.nimg)
    whole = loader
    trained, held_out_note = hold_out(state, dataset, ranks, words)
    if dataset is not None:
        loader = modality.make_loader(
            trained, config, part=(rank, world_size), workers=workers,
            machine=None if ranks is None else ranks.machine,
        )  # fmt: skip
        whole = loader.whole
    elif world_size > 1:
        loader = RankLoader(loader, rank, world_size)
    replicate(state, ranks)
    recomputation = choose_recompute(config, state.device, gpus=world_size)
    state.context.recomputes = recomputation.is_on
    info = RunInfo(
        config=config,
        run_dir=run_dir,
        state=state,
        reals=lambda n: first_samples(whole, n) if grid is None else grid[0],
        dataset_name=getattr(dataset, "name", type(whole).__name__),
        dataset_size=None if dataset is None else len(dataset),
        data_note="" if dataset is None else "; ".join(filter(None, (loader.why, held_out_note))),
        data_remark=data_remark(dataset) if rank == 0 else "",  # which alone has observers
        recompute_note=recomputation.why,
        g_parameters=sum(p.numel() for p in state.G.parameters()),
        d_parameters=sum(p.numel() for p in state.D.parameters()),
        copied_weights=copied,
        resumed_from=resume,
        resumed_kimg=state.kimg,
        changes=() if document is None else changes_since(document, state),
    )
    evaluator = make_evaluator(state, dataset, ranks)
    if not isinstance(loader, BatchLoader):
        loader = CopyingLoader(loader, state.device)
    events = Events(observers if rank == 0 else (), state.device)
    health = HealthPolicy(
        state, words, on_collapse, is_first=rank == 0,
        held_out=held_out_batch(state, SAMPLES) if rank == 0 and dataset is not None else None,
        num_samples=info.dataset_size, notify=partial(events.tell, "on_alarm"),
    )  # fmt: skip
    if document is not None:
        health.restore(document.get("health", {}), regression_of_run(run_dir, config.metrics))
    with backend_settings(config, state.device):
        run = _Run(state, loader, evaluator, run_dir, events, health, faults, ranks, minutes)
        return run.run(info)


class _Run:
    """One call of `train`: a state with its loader, observers and clocks."""

    def __init__(
        self,
        state: TrainState,
        loader: Loader,
        evaluator: PartEvaluator | None,
        run_dir: Path,
        events: Events,
        health: HealthPolicy,
        faults: FaultPolicy,
        ranks: Ranks | None,
        minutes: float | None,
    ):
        self.state = state
        self.loader = loader
        self.evaluator = evaluator
        self.run_dir = run_dir
        self.events, self.health = events, health
        self.ranks = ranks
        self.time_limit_sec = math.inf if minutes is None else 60 * minutes
        self.is_first = ranks is None or ranks.is_first
        self.saver = Saver(run_dir, keep_every_nimg=state.config.total_nimg / 10)
        # Neither function refers to this run: a cycle would keep the state until the garbage
        # collector finds it.
        self.guard = FaultGuard(
            state,
            faults,
            notify=partial(events.tell, "on_alarm"),
            last_good=partial(_newest, self.saver),
        )
        self.earlier_sec = state.elapsed_sec
        self.begin = self.tick_begin = self.tick_end = time.perf_counter()
        self.tick_nimg = state.nimg
        self.data_wait_sec = 0.0

    def run(self, info: RunInfo) -> TrainState:
        reason = "failed"
        with stop_requests() as stop:
            try:
                self.events.tell("on_start", info)
                with self.saver:
                    try:
                        ended = self._steps(stop)
                    finally:
                        # at once, on every way out: an exception keeps the frames that refer to
                        # the graphs, and a process group can't end before them
                        self.state.context.release()
                reason = ended
            except TrainingDiverged:
                reason = "diverged"
                raise
            except KeyboardInterrupt:
                reason = "interrupted"
                raise
            finally:
                self.state.reason = reason
                self.state.standing = self.health.standing
                self.events.tell("on_end", reason)
        return self.state

    def _steps(self, stop: StopRequest) -> str:
        state, config = self.state, self.state.config
        self.guard.start()
        self.tick_begin = time.perf_counter()
        last_saved = None
        while state.nimg < config.total_nimg:
            asked = time.perf_counter()
            batch = step_input(self.loader, state)
            self.data_wait_sec += time.perf_counter() - asked
            self.health.look(batch)
            train_step(state, batch)
            self.events.tell("on_step", state.nimg)
            is_last = state.nimg >= config.total_nimg
            wish = self._wish(stop.is_set())
            is_stopping = wish in (END, STOP)
            is_due = is_last or is_tick_due(state.nimg, config.batch, config.tick_kimg)
            went_back = self.guard.after_step()
            if not went_back and wish == GO_BACK:
                self.guard.go_back(self.health.collapse or "rank 0 found a collapse")
                went_back = True
            if not went_back and (is_due or is_stopping):
                went_back = self.guard.check()
            if went_back:
                self._restart_clocks()
            elif is_due:
                number = self._tick()
                contents = self.guard.snapshot()
                if is_last or number % config.snapshot_every_ticks == 0:
                    self._snapshot(contents, is_first=number == 0 and not is_last)
                    last_saved = state.nimg
                self.saver.raise_error()
                self.tick_begin = time.perf_counter()
            if is_stopping and (went_back or not is_last):
                if self.is_first and (went_back or last_saved != state.nimg):
                    self._save(self._contents())
                if wish == END:
                    return "finished"
                is_asked = stop.is_set() or not self.health.collapse
                return "interrupted" if is_asked else "unhealthy"
        return "finished"

    def _wish(self, is_asked_to_stop: bool) -> int:
        """What any rank wishes after this step; called by every rank after every step."""
        ranks, state = self.ranks, self.state
        wish = STOP if is_asked_to_stop else self.health.wish()
        if time.perf_counter() - self.begin >= self.time_limit_sec:
            wish = max(wish, END)
        if ranks is None:
            return wish
        wish = ranks.step_ended(state.step, wish=wish)
        if state.step % ranks.compare_every == 0:
            ranks.compare(shared_tensors(state), f"after step {state.step}")
        return wish

    def _tick(self) -> int:
        state = self.state
        losses = state.stats.read()  # waits for the device, so that the clock reads true
        now = time.perf_counter()
        kimg = (state.nimg - self.tick_nimg) / 1000
        seconds = now - self.tick_begin
        state.elapsed_sec = self.earlier_sec + now - self.begin
        number, state.tick = state.tick, state.tick + 1
        is_cuda = state.device.type == "cuda"
        self.events.tell(
            "on_tick",
            Tick(
                tick=number,
                kimg=state.kimg,
                total_sec=state.elapsed_sec,
                sec_per_tick=seconds,
                sec_per_kimg=seconds / kimg,
                img_per_sec=1000 * kimg / seconds,
                maintenance_sec=self.tick_begin - self.tick_end,
                cpumem_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
                gpumem_gb=torch.cuda.max_memory_allocated(state.device) / 2**30 if is_cuda else 0.0,
                augment=float(getattr(state.augment, "p", 0.0)),
                scheduled=state.config.scheduled_values(state.kimg),
                losses=losses,
                data_wait_percent=100 * self.data_wait_sec / seconds,
                logits=self.health.logits,
                eta_sec=max(state.config.total_kimg - state.kimg, 0) * seconds / kimg,
            ),
        )
        state.stats.reset()
        if is_cuda:
            torch.cuda.reset_peak_memory_stats(state.device)
        self.tick_nimg, self.tick_end, self.data_wait_sec = state.nimg, now, 0.0
        return number

    def _snapshot(self, contents: Contents, *, is_first: bool) -> None:
        with (
            contextlib.nullcontext()
            if self.ranks is None
            else self.ranks.others_wait_for("a snapshot")
        ):
            path = self._save(contents) if self.is_first else None
            has_metrics = self.evaluator is not None and not is_first
            metrics = measure(self.state, self.evaluator) if has_metrics else {}
            if self.is_first:
                self._report_snapshot(path, metrics)

    def _report_snapshot(self, path: Path, metrics: dict[str, MetricResult]) -> None:
        state = self.state
        modality = load_modality(state.config.data.modality)
        first = next(iter(state.config.metrics), "")
        is_lower = modality.is_lower_better(first) if metrics else None
        if is_lower is not None:
            score = Score(state.kimg, metrics[first].value, metrics[first].interval)
            self.saver.note_score(path, first, score, lower_is_better=is_lower)
        samples = self.run_dir / fakes_name(state.nimg, modality.samples.SUFFIX)
        snapshot = Snapshot(kimg=state.kimg, samples=samples, checkpoint=path, metrics=metrics)
        self.events.tell("on_snapshot", snapshot)
        if is_lower is not None:
            self.health.judge(regression_of_run(self.run_dir, state.config.metrics, path))

    def _contents(self) -> Contents:
        """The contents of the state, which the guard has checked."""
        self.state.elapsed_sec = self.earlier_sec + time.perf_counter() - self.begin
        return self.guard.snapshot()

    def _save(self, contents: Contents) -> Path:
        contents.values["health"] = self.health.history()
        return self.saver.save(contents)

    def _restart_clocks(self) -> None:
        """Called after the state was rolled back."""
        self.health.went_back()
        self.tick_nimg = self.state.nimg
        self.tick_begin = self.tick_end = time.perf_counter()


def _newest(saver: Saver) -> str:
    """Names the newest checkpoint, once the saver has written it."""
    try:
        saver.wait()
    except checkpoint.CheckpointError as error:
        return f"not the newest ({error})"
    return str(checkpoint.latest(saver.run_dir) or "none")
