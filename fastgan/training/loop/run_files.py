# SPDX-License-Identifier: Apache-2.0
"""`read_run`: the options, statistics, scores and samples of a run folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fastgan.json_forms import (
    Form,
    FormError,
    anything,
    fields,
    maybe,
    number,
    parse,
    rows,
    table,
    text,
)
from fastgan.modalities import Modality, load_modality

_ROW = table()
_ALARM = fields({"alarm": text(), "kimg": number(), "message": text()}, others=anything)
_LOGITS = fields(
    {"kimg": number(), "real": rows(number()), "fake": rows(number())}, others=anything
)
_SCORE = fields(
    {"kimg": number(), "results": table(number())},
    {"interval": maybe(rows(number(), length=2))},
    others=anything,
)
_COUNT = re.compile(r"(\d+)(?:_(\d{3}))?")


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """The content of a run folder at one moment.

    `stats` are rows with a `kimg` key; `alarms` are the lines of stats.jsonl that have one, in
    order; `logits` are the lines of logits.jsonl; `scores` are by metric the lines of
    metric-NAME.jsonl (`fastgan.metrics.MetricResult.record`) that have a value, in the order of
    `kimg`; `fakes` are `(kimg, file name)`; `files` are the names of all that is in `folder`.
    """

    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    stats: list[dict[str, float]] = field(default_factory=list)
    alarms: list[Mapping[str, object]] = field(default_factory=list)
    logits: list[Mapping[str, object]] = field(default_factory=list)
    scores: Mapping[str, list[dict]] = field(default_factory=dict)
    fakes: list[tuple[float, str]] = field(default_factory=list)
    folder: Path = Path()
    files: frozenset[str] = frozenset()

    @property
    def modality(self) -> Modality:
        """That of the run's data."""
        data = self.options.get("data")
        return load_modality(data.get("modality", "images") if isinstance(data, dict) else "images")


def read_lines(path: Path, form: Form = _ROW) -> list[dict]:
    """The JSON objects of a .jsonl file that have a form, [] where there is no file.

    A last line without its newline is being written, or was cut off by a crash: it is left out.
    So is a damaged line: a report is not worth a run.
    """
    if not path.exists():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    return [row for line in lines if (row := _row_of(line, form)) is not None]


def _row_of(line: bytes, form: Form) -> dict | None:
    try:
        return parse(line, form)
    except FormError:
        return None


def flatten(values: Mapping[str, object], prefix: str = "", sep: str = ".") -> dict[str, object]:
    """Nested mappings as one, keys joined by `sep`: `{"a": {"b": 1}}` -> `{"a.b": 1}`."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}{sep}", sep))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _numbers(row: Mapping[str, object]) -> dict[str, float]:
    """The numeric entries of a record, nested ones with their keys joined by "/"."""
    flat = flatten(row, sep="/")
    return {
        k: float(v)
        for k, v in flat.items()
        if isinstance(v, float) or (type(v) is int and abs(v) <= 2**53)
    }


def _scores(run_dir: Path) -> dict[str, list[dict]]:
    scores: dict[str, list[dict]] = {}
    for path in sorted(run_dir.glob("metric-*.jsonl")):
        name = path.stem.removeprefix("metric-")
        for row in read_lines(path, _SCORE):
            numbers = _numbers(row)
            if f"results/{name}" in numbers and "kimg" in numbers:
                scores.setdefault(name, []).append(row)
    return {name: sorted(rows, key=lambda row: row["kimg"]) for name, rows in scores.items()}


def read_run(run_dir: Path) -> RunFiles:
    """Read options, statistics, scores and the list of samples of the run in `run_dir`."""
    path = run_dir / "training_options.json"
    try:
        options = parse(path.read_bytes(), table()) if path.exists() else {}
    except FormError as error:
        raise FormError(f"{path} is not what a run writes: {error}") from error
    suffix = RunFiles(name="", options=options).modality.samples.SUFFIX
    stats = run_dir / "stats.jsonl"
    return RunFiles(
        name=run_dir.name,
        options=options,
        stats=[_numbers(row) for row in read_lines(stats) if "alarm" not in row],
        alarms=read_lines(stats, _ALARM),
        logits=read_lines(run_dir / "logits.jsonl", _LOGITS),
        scores=_scores(run_dir),
        fakes=[(kimg, path.name) for kimg, path in list_fakes(run_dir, suffix)],
        folder=run_dir,
        files=frozenset(path.name for path in run_dir.glob("*")),
    )


def fakes_name(nimg: int, suffix: str) -> str:
    """The file of a snapshot after `nimg` samples; no two have one name, and they sort by it.

    `fakes000012.png` is that of 12,000 samples, and `fakes000012_032.png` that of 12,032.
    """
    kimg, rest = divmod(nimg, 1000)
    return f"fakes{kimg:06d}_{rest:03d}{suffix}" if rest else f"fakes{kimg:06d}{suffix}"


def list_fakes(run_dir: Path, suffix: str, coming: Path | None = None) -> list[tuple[float, Path]]:
    """`(kimg, path)` of every snapshot's file in a run folder, oldest first; 12 or 12.032 kimg.

    `coming` is among them although it is not written yet.
    """
    found = []
    for path in {*run_dir.glob(f"fakes*{suffix}"), *([coming] if coming else [])}:
        count = _COUNT.fullmatch(path.stem.removeprefix("fakes"))
        if count:
            kimg, rest = int(count[1]), int(count[2] or 0)
            found.append(((kimg * 1000 + rest) / 1000 if rest else kimg, path))
    return sorted(found)
