# SPDX-License-Identifier: Apache-2.0
"""`Logger`: base of the observers that pass a run's numbers, texts and samples to another program.

The samples are the files that the run's modality writes, so that a new modality needs nothing here:
the end of a file's name says what it is (`KINDS`).
"""

import dataclasses
import json
import tempfile
from pathlib import Path

from fastgan.metrics import MetricResult
from fastgan.training.loop.observer import Alarm, Observer, RunInfo, Snapshot, Tick
from fastgan.training.report.samples import Samples

__all__ = ["KINDS", "Logger"]

# end of a file's name → the first part of its tag: one tag has files of one kind
KINDS = {
    ".png": "Pictures",
    ".gif": "Clips",
    ".mp4": "Clips",
    ".wav": "Sounds",
    ".txt": "Texts",
    ".smi": "Texts",
    ".svg": "Drawings",
}


class Logger(Observer):
    """Turns a run's events into numbers, texts and files with a tag and a step.

    The step is the number of real images shown, and never falls. A subclass has `open`, `numbers`,
    `text`, `file`, `flush` and `close`. An exception of theirs ends the run, as that of any
    observer does: the caller sees it, and the checkpoints that were written stay.

    Tags: those of `Tick.losses` ("Loss/D", "Logits/real" …), "Schedule/NAME", "Progress/…",
    "Timing/…", "Resources/…", "Metrics/NAME" (with an interval also "Metrics/NAME_low" and
    "_high"), "Alarms/KIND", "Pictures/fakes", "Sounds/fakes-0" and so on.
    """

    _files: "_SampleFiles | None" = None

    def on_start(self, info: RunInfo) -> None:
        """Opens the log, and writes the configuration into a new one.

        Args:
            info: of the run.
        """
        self._step = round(info.resumed_kimg * 1000)
        self._described: set[str] = set()
        is_continued = self.open(info, self._step)
        self._files = _SampleFiles(info)
        self._needs_reals = not is_continued
        if not is_continued:
            self.text("Configuration", json.dumps(info.config.to_dict(), indent=2), self._step)
        self.flush()

    def on_tick(self, tick: Tick) -> None:
        """Logs the numbers of a tick.

        Args:
            tick: means since the last one.
        """
        values = {
            **tick.losses,
            **{f"Schedule/{name}": value for name, value in tick.scheduled.items()},
            "Progress/tick": tick.tick,
            "Progress/kimg": tick.kimg,
            "Progress/augment": tick.augment,
            "Timing/total_sec": tick.total_sec,
            "Timing/sec_per_tick": tick.sec_per_tick,
            "Timing/sec_per_kimg": tick.sec_per_kimg,
            "Timing/img_per_sec": tick.img_per_sec,
            "Timing/maintenance_sec": tick.maintenance_sec,
            "Timing/data_wait_percent": tick.data_wait_percent,
            "Resources/cpu_mem_gb": tick.cpumem_gb,
            "Resources/peak_gpu_mem_gb": tick.gpumem_gb,
        }
        self.numbers(values, self._step_at(tick.kimg))
        self.flush()

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Logs samples and scores; with the first ones, the real samples.

        Args:
            snapshot: with its metrics.
        """
        step = self._step_at(snapshot.kimg)
        for tag, path in self._files.of_snapshot(snapshot, with_reals=self._needs_reals):
            self.file(tag, path, step)
        self._needs_reals = False
        for name, result in snapshot.metrics.items():
            self.numbers(_score(name, result), step)
            how = (
                f"{result.num_fake} generated and {result.num_real} real samples of {result.data}; "
                f"features: {result.extractor}, resizing: {result.resize}, seed {result.seed}"
            )
            if how not in self._described:
                self._described.add(how)
                self.text(f"Metric settings/{name}", how, step)
        self.flush()

    def on_alarm(self, alarm: Alarm) -> None:
        """Logs an alarm as a text.

        Args:
            alarm: what is wrong, or what was done about it.
        """
        over = " (it is over)" if alarm.is_over else ""
        text = f"kimg {alarm.kimg:.3f}{over}: {alarm.message}"
        self.text(f"Alarms/{alarm.kind}", text, self._step_at(alarm.kimg))
        self.flush()

    def on_end(self, reason: str) -> None:
        """Closes the log.

        Args:
            reason: why the run ended.
        """
        if self._files is not None:
            self._files.close()
            self._files = None
            self.close(reason)

    def _step_at(self, kimg: float) -> int:
        self._step = max(self._step, round(kimg * 1000))
        return self._step

    def open(self, info: RunInfo, step: int) -> bool:
        """Begins a log, or goes on with the run's earlier one after `step`.

        Args:
            info: of the run.
            step: at which the run starts; what an earlier process logged later is void.

        Returns:
            Whether an earlier log goes on.
        """
        raise NotImplementedError

    def numbers(self, values: dict[str, float], step: int) -> None:
        """Logs numbers.

        Args:
            values: tag → number.
            step: real images shown.
        """
        raise NotImplementedError

    def text(self, tag: str, text: str, step: int) -> None:
        """Logs a plain text.

        Args:
            tag: its name.
            text: may have several lines.
            step: real images shown.
        """
        raise NotImplementedError

    def file(self, tag: str, path: Path, step: int) -> None:
        """Logs a file of samples.

        Args:
            tag: its name, which begins with one of `KINDS`.
            path: a file with one of the ends of `KINDS`; one that can't be shown is passed over.
            step: real images shown.
        """
        raise NotImplementedError

    def flush(self) -> None:
        """Passes on what is buffered; default: nothing is."""

    def close(self, reason: str) -> None:
        """Ends the log.

        Args:
            reason: why the run ended.
        """
        raise NotImplementedError


def _score(name: str, result: MetricResult) -> dict[str, float]:
    values = {f"Metrics/{name}": result.value}
    if result.interval is not None:
        low, high = result.interval
        values |= {f"Metrics/{name}_low": low, f"Metrics/{name}_high": high}
    return values


class _SampleFiles:
    """The files of samples that a run has written, or writes here where it has no `Samples`."""

    def __init__(self, info: RunInfo) -> None:
        self._info = info
        self._folder: tempfile.TemporaryDirectory | None = None
        self._own: Samples | None = None

    def of_snapshot(self, snapshot: Snapshot, *, with_reals: bool) -> list[tuple[str, Path]]:
        """(tag, path) of the files of a snapshot, and of the real samples."""
        fakes = snapshot.samples
        if not fakes.exists():
            fakes = self._write(snapshot)
        found = _tagged(fakes.parent, "reals", "reals") if with_reals else []
        return found + _tagged(fakes.parent, fakes.stem, "fakes")

    def _write(self, snapshot: Snapshot) -> Path:
        if self._own is None:
            self._folder = tempfile.TemporaryDirectory(prefix="fastgan-")
            self._own = Samples()
            self._own.on_start(dataclasses.replace(self._info, run_dir=Path(self._folder.name)))
        path = Path(self._folder.name) / snapshot.samples.name
        self._own.on_snapshot(dataclasses.replace(snapshot, samples=path))
        return path

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


def _tagged(folder: Path, stem: str, name: str) -> list[tuple[str, Path]]:
    """The files STEM.* and STEM-0.* ... of known kinds: ("Sounds/fakes-0", path)."""
    return [
        (f"{KINDS[path.suffix]}/{name}{path.stem.removeprefix(stem)}", path)
        for path in sorted(folder.glob(f"{stem}*"))
        if path.suffix in KINDS and (path.stem == stem or path.stem.startswith(f"{stem}-"))
    ]
