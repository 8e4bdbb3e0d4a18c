"""`read_run`: the options, statistics, scores and pictures of a run folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """The content of a run folder at one moment.

    `stats` and each list in `scores` are rows with a `kimg` key; `grids` are `(kimg, file name)`.
    """

    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    stats: list[dict[str, float]] = field(default_factory=list)
    scores: Mapping[str, list[tuple[float, float]]] = field(default_factory=dict)
    grids: list[tuple[int, str]] = field(default_factory=list)
    has_reals: bool = False
    has_gif: bool = False


def read_lines(path: Path) -> list[dict]:
    """The JSON objects of a .jsonl file, [] where there is none.

    A last line without its newline is being written, or was cut off by a crash: it is left out.
    """
    if not path.exists():
        return []
    complete = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in complete.splitlines() if line.strip()]


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
        k: float(v) for k, v in flat.items() if isinstance(v, int | float) and type(v) is not bool
    }


def _scores(run_dir: Path) -> dict[str, list[tuple[float, float]]]:
    scores: dict[str, list[tuple[float, float]]] = {}
    for path in sorted(run_dir.glob("metric-*.jsonl")):
        name = path.stem.removeprefix("metric-")
        for row in read_lines(path):
            numbers = _numbers(row)
            value = numbers.get(f"results/{name}")
            if value is not None and "kimg" in numbers:
                scores.setdefault(name, []).append((numbers["kimg"], value))
    return {name: sorted(points) for name, points in scores.items()}


def read_run(run_dir: Path) -> RunFiles:
    """Read options, statistics, scores and the list of pictures of the run in `run_dir`."""
    options = run_dir / "training_options.json"
    return RunFiles(
        name=run_dir.name,
        options=json.loads(options.read_text(encoding="utf-8")) if options.exists() else {},
        stats=[_numbers(r) for r in read_lines(run_dir / "stats.jsonl") if "alarm" not in r],
        scores=_scores(run_dir),
        grids=[(kimg, path.name) for kimg, path in list_fakes(run_dir)],
        has_reals=(run_dir / "reals.png").exists(),
        has_gif=(run_dir / "progress.gif").exists(),
    )


def fakes_name(kimg: float) -> str:
    """`fakes000012.png`: the file name of the grid at `kimg` thousand images (rounded down)."""
    return f"fakes{int(kimg):06d}.png"


def list_fakes(run_dir: Path) -> list[tuple[int, Path]]:
    """`(kimg, path)` of every grid of fakes in a run folder, oldest first."""
    found = []
    for path in run_dir.glob("fakes*.png"):
        digits = path.stem.removeprefix("fakes")
        if digits.isdigit():
            found.append((int(digits), path))
    return sorted(found)
