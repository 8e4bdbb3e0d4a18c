# SPDX-License-Identifier: Apache-2.0
"""Results of the comparison: a file with one line for each run, and the table made from it."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.losses.rows import ROWS
from fastgan.bench.measure.machine import environment
from fastgan.bench.measure.timer import Protocol

__all__ = ["RESULTS", "append", "read", "table"]

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/losses/digits.jsonl"
_FACTS = ("cpu", "isa", "threads", "commit", "torch")
_REAL = {"floor": "real samples", "memory": "training samples, repeated"}
_LOGITS = ("real", "fake")


def append(path: Path, row: str, result: dict[str, Any]) -> None:
    """Append one run to the results, with what its figures depend on.

    Args:
        path: the file; it is made, and its folder.
        row: a key of `ROWS`.
        result: what `benchmarks.losses.runs.run` returned.
    """
    facts = environment(Protocol())
    line = {"row": row, **result, "environment": {name: facts[name] for name in _FACTS}}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(_rounded(line), ensure_ascii=False) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of `append`; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(results: list[dict[str, Any]]) -> str:
    """A Markdown table: means over the seeds, with the lowest and highest in brackets.

    Args:
        results: what `read` returned.

    Returns:
        A line for each row that has results, after those of real samples.
    """
    lines = [
        "| loss, penalty | seeds | Fréchet distance / floor | the same of pixels | coverage "
        "| classes | D of real, of fake | CPU-s |",
        "| --- | --: | --- | --- | --- | --- | --- | --: |",
    ]
    # Rows with one seed have one split, and so the same scores of real samples.
    splits = {each["seed"]: each for each in results}.values()
    for key, name in _REAL.items():
        real = [each | each[key] for each in splits]
        lines.append(f"| *{name}* | {len(real)} | {_scores(real)} | | |")
    for row in ROWS:
        runs = [each for each in results if each["row"] == row]
        if runs:
            logits = ", ".join(_number(fmean(each[f"d_{of}"] for each in runs)) for of in _LOGITS)
            seconds = fmean(each["cpu_seconds"] for each in runs)
            lines.append(f"| {row} | {len(runs)} | {_scores(runs)} | {logits} | {seconds:.0f} |")
    return "\n".join(lines)


def _scores(runs: list[dict[str, Any]]) -> str:
    def ratio(name: str) -> Callable[[dict[str, Any]], float]:
        return lambda each: each[name] / each["floor"][name]

    cells = [
        _spread(runs, ratio("frechet")),
        _spread(runs, ratio("pixel_frechet")),
        _spread(runs, lambda each: each["coverage"], digits=2),
        _spread(runs, lambda each: each["classes"], digits=0),
    ]
    return " | ".join(cells)


def _spread(
    runs: list[dict[str, Any]], value: Callable[[dict[str, Any]], float], digits: int | None = None
) -> str:
    def text(x: float) -> str:
        return _number(x) if digits is None else f"{x:.{digits}f}"

    values = [value(each) for each in runs]
    low, high = text(min(values)), text(max(values))
    if low == high:
        return low
    mean = _number(fmean(values)) if digits != 2 else text(fmean(values))
    return f"{mean} ({low}–{high})"


def _number(x: float) -> str:
    """Three digits, and no exponent."""
    return f"{x:.2f}" if abs(x) < 10 else f"{x:.1f}" if abs(x) < 100 else f"{x:.0f}"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
