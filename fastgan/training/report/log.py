# SPDX-License-Identifier: Apache-2.0
"""`RunLog`: training_options.json, log.txt, stats.jsonl and metric-*.jsonl of a run folder."""

import contextlib
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fastgan._version import __version__
from fastgan.atomic import append, write_atomic
from fastgan.json_forms import FormError, anything, fields, number, parse
from fastgan.training.checkpoint.contents import digest
from fastgan.training.config.precision import precision_note
from fastgan.training.distributed.exchange import exchange_note
from fastgan.training.loop.observer import Alarm, Observer, RunInfo, Snapshot, Tick
from fastgan.training.step.backends import backends_note
from fastgan.training.step.capture import phases_note
from fastgan.training.step.health.readings import Logits

__all__ = ["RunLog", "format_tick", "format_time"]


_RECORD = fields({}, {"kimg": number()}, others=anything)
_NOT_NUMBERS = ("losses", "scheduled", "logits")  # fields of Tick


class RunLog(Observer):
    """Writes the text files of a run folder while the run goes on.

    training_options.json   `TrainConfig.to_dict()`, indented
    log.txt                 what happened: versions, device, processes, precision, backends, how the
                            phases run (`fastgan.training.step.capture`), a line per tick
                            (`format_tick`), at the end the digest of the whole state
                            (`fastgan.training.digest`)
    stats.jsonl             per tick a JSON object: Tick's fields with `losses` spread out
                            ("Loss/D" …) and `scheduled` ("Schedule/beta2" …), and
                            `timestamp` (seconds since 1970); per alarm
                            {"alarm": kind, "kimg", "message", "timestamp"},
                            and "is_over": true where it is over
    logits.jsonl            per tick D's logits of at most 64 real samples and as many fakes at the
                            newest look (`fastgan.training.step.health`), where there was one since
                            the last tick: {"kimg", "real": [...], "fake": [...], "timestamp"}, to
                            four digits, without those that are not finite
    metric-<name>.jsonl     per snapshot `MetricResult.record` and "timestamp"; `fastgan evaluate`
                            adds lines with the same keys

    Args:
        choices: lines for the head of log.txt, on what was chosen for the run and why; default
            none.

    A resumed run deletes the lines of later images, and incomplete ones, from the .jsonl files, so
    that each file reads as if the run had never stopped. Each line is passed to the operating
    system before the method returns.
    """

    def __init__(self, choices: Sequence[str] = ()) -> None:
        self._choices = tuple(choices)

    def on_start(self, info: RunInfo) -> None:
        """Writes training_options.json and the first lines of log.txt.

        Args:
            info: of the run.
        """
        self._run_dir, self._kimg, self._state = info.run_dir, info.resumed_kimg, info.state
        self._logits: Logits | None = None
        of_ticks = [self._run_dir / name for name in ("stats.jsonl", "logits.jsonl")]
        for path in (*of_ticks, *self._run_dir.glob("metric-*.jsonl")):
            if path.exists():
                _cut(path, info.resumed_kimg)
        options = json.dumps(info.config.to_dict(), indent=2)
        write_atomic(self._run_dir / "training_options.json", options + "\n")
        config = info.config
        self._say(_software_and_device(info.state.device, info.state.context.world_size))
        size = "" if info.dataset_size is None else f", {info.dataset_size} samples"
        self._say(
            f"recipe {config.name}: architecture {config.architecture}, loss {config.objective}, "
            f"batch {config.batch}, {config.total_kimg:g} kimg, device {config.device}"
        )
        self._say(f"precision: {precision_note(config, info.state.device)}")
        self._say(f"backends: {backends_note(config, info.state.device)}")
        for line in self._choices:
            self._say(line)
        self._say(f"data set: {info.dataset_name}{size}")
        if info.data_note:
            self._say(f"data: {info.data_note}")
        if info.data_remark:
            self._say(f"data: {info.data_remark}")
        self._say(f"parameters: {info.g_parameters:,} in G, {info.d_parameters:,} in D")
        self._say(phases_note(config.capture, info.state.device))
        if info.recompute_note:
            self._say(f"recomputation: {info.recompute_note}")
        if config.compile:
            self._say("networks: compiled by torch.compile in the phases without a penalty")
        self._say(exchange_note(config, info.state.context.world_size))
        for line in () if info.copied_weights is None else info.copied_weights.lines:
            self._say(line)
        if info.resumed_from is not None:
            self._say(f"resumed from {info.resumed_from.name} at kimg {info.resumed_kimg:.3f}")
        if info.changes:
            changes = "; ".join(info.changes)
            self._say(f"settings changed, so the run does not continue bit for bit: {changes}")

    def on_tick(self, tick: Tick) -> None:
        """Writes a line of log.txt, one of stats.jsonl, and one of logits.jsonl.

        Args:
            tick: means since the last one.
        """
        self._kimg = tick.kimg
        self._say(format_tick(tick))
        values = {k: v for k, v in vars(tick).items() if k not in _NOT_NUMBERS}
        scheduled = {f"Schedule/{name}": value for name, value in tick.scheduled.items()}
        self._append("stats.jsonl", values | scheduled | tick.losses)
        if tick.logits is not None and tick.logits is not self._logits:
            self._logits = tick.logits
            self._append("logits.jsonl", _logits_record(tick.logits))

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Writes a line of log.txt and one of metric-<name>.jsonl for each metric.

        Args:
            snapshot: with its metrics.
        """
        for name, result in snapshot.metrics.items():
            self._say(
                f"{name} {result} at kimg {snapshot.kimg:.1f}, of {result.num_fake} generated and "
                f"{result.num_real} real samples, features: {result.extractor}, resizing: "
                f"{result.resize}, seed {result.seed}"
            )
            record = result.record(
                kimg=snapshot.kimg, checkpoint=snapshot.checkpoint.name, computed_by="train"
            )
            self._append(f"metric-{name}.jsonl", record)

    def on_alarm(self, alarm: Alarm) -> None:
        """Writes a line of log.txt and one of stats.jsonl.

        Args:
            alarm: what is wrong, or what was done about it.
        """
        self._say(format_alarm(alarm))
        record = {"alarm": alarm.kind, "kimg": alarm.kimg, "message": alarm.message}
        record |= {"is_over": True} if alarm.is_over else {}
        self._append("stats.jsonl", record)

    def on_end(self, reason: str) -> None:
        """Writes the digest of the state and the last line of log.txt.

        Args:
            reason: why the run ended.
        """
        if hasattr(self, "_run_dir"):
            if reason in ("finished", "interrupted"):
                self._say(f"digest {digest(self._state)}")
            self._say(f"training ended at kimg {self._kimg:.3f}: {reason}")

    def _say(self, line: str) -> None:
        append(self._run_dir / "log.txt", line + "\n")

    def _append(self, name: str, record: dict[str, Any]) -> None:
        line = json.dumps(record | {"timestamp": time.time()})
        append(self._run_dir / name, line + "\n")


def _logits_record(logits: Logits) -> dict[str, Any]:
    def finite(values: Sequence[float]) -> list[float]:
        return [float(f"{value:.4g}") for value in values if math.isfinite(value)]

    return {"kimg": logits.kimg, "real": finite(logits.real), "fake": finite(logits.fake)}


def format_tick(tick: Tick) -> str:
    """One line of log.txt, in the layout of StyleGAN's log; what a schedule changes comes last."""
    scheduled = "".join(f" {name} {value:.5g}" for name, value in tick.scheduled.items())
    return (
        f"tick {tick.tick:<5d} kimg {tick.kimg:<8.1f} time {format_time(tick.total_sec):<12s} "
        f"sec/tick {tick.sec_per_tick:<7.1f} sec/kimg {tick.sec_per_kimg:<7.2f} "
        f"maintenance {tick.maintenance_sec:<6.1f} data-wait {tick.data_wait_percent:.1f}% "
        f"cpumem {tick.cpumem_gb:<6.2f} "
        f"gpumem {tick.gpumem_gb:<6.2f} augment {tick.augment:.3f}{scheduled}"
    )


def format_alarm(alarm: Alarm) -> str:
    """One line: the kind, when, and the message."""
    over = " is over," if alarm.is_over else ""
    return f"ALARM {alarm.kind}{over} at kimg {alarm.kimg:.3f}: {alarm.message}"


def format_time(seconds: float) -> str:
    """48s, 3m 10s, 2h 05m 09s, 1d 03h 20m: whole seconds, rounded."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m {s % 60:02d}s"
    if s < 86400:
        return f"{s // 3600}h {s // 60 % 60:02d}m {s % 60:02d}s"
    return f"{s // 86400}d {s // 3600 % 24:02d}h {s // 60 % 60:02d}m"


def _software_and_device(device: torch.device, processes: int) -> str:
    """The versions, the device's name and the number of processes, in one line."""
    is_cuda = device.type == "cuda"
    threads = torch.get_num_threads()
    name = torch.cuda.get_device_name(device) if is_cuda else f"cpu with {threads} threads"
    return (
        f"fastgan {__version__}, torch {torch.__version__}, device {name}, processes: {processes}"
    )


def _cut(path: Path, kimg: float) -> None:
    kept = []
    for line in path.read_bytes().split(b"\n"):
        with contextlib.suppress(FormError):  # incomplete, because a process was killed, or damaged
            if parse(line, _RECORD).get("kimg", 0) <= kimg:
                kept.append(line + b"\n")
    write_atomic(path, b"".join(kept))
