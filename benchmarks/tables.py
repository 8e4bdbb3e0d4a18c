# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.tables`: the tables of benchmarks/README.md, made from results/*.json.

A file holds what `fastgan bench ... --json` wrote. Of ops, a row is the range over all shapes of a
file; of networks and steps, it is a phase, or the whole step where there is one.
"""

import json
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fastgan.bench.step_case import STEP

HERE = Path(__file__).parent
BEGIN, END = "<!-- made by `python -m benchmarks.tables` -->", "<!-- end of what it made -->"

Results = dict[str, dict[str, Any]]


def read(folder: Path = HERE / "results") -> Results:
    """File name without suffix → its JSON."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def files_table(results: Results) -> str:
    """Where the figures of each file come from."""
    lines = []
    for name, document in results.items():
        facts = document["environment"]
        device = f"{facts['cpu']}, torch {facts['torch']}"
        command = f"`{facts['command']}`"
        commit, _, changed = facts["commit"].partition(" ")
        how = [facts["threads"], facts["protocol"]["rounds"], f"{facts['load_average']:.1f}"]
        lines.append([f"`{name}`", command, device, f"`{commit[:12]}` {changed}".strip(), *how])
    head = ["file", "command", "device", "commit", "threads", "rounds", "load"]
    return _table(head, lines)


def ops_table(results: Results) -> str:
    """Least, median and most over the shapes of a file."""
    lines = []
    for name, rows in _rows(results, "op"):
        rows = [r for r in rows if not r.get("is_as_written")]
        for op, mode in dict.fromkeys((r["op"], r["mode"]) for r in rows):
            here = [r for r in rows if (r["op"], r["mode"]) == (op, mode) and not r["failure"]]
            cells = [_span(_ratios(here, other)) for other in ("reference", "compile")]
            floors = [r["variants"]["native"]["seconds"] / r["floor_seconds"] for r in here]
            lines.append([op, mode, len(here), *cells, _span(floors), f"`{name}`"])
    head = ["op", "mode", "shapes", "reference / native", "compile / native", "native / floor"]
    return _table([*head, "file"], sorted(lines, key=lambda line: line[0]))


def written_table(results: Results) -> str:
    """One line for each case that is compared with plain torch as people write it."""
    lines = []
    for name, rows in _rows(results, "op"):
        for r in rows:
            if r.get("is_as_written") and not r["failure"]:
                of = r["variants"]
                micros = [f"{1e6 * of[v]['seconds']:.4g}" for v in ("reference", "native")]
                ratio = f"{of['reference']['ratio_to_native']:.2f}"
                floor = f"{of['native']['seconds'] / r['floor_seconds']:.3g}"
                kind = f"{r['dtype']} {r['layout']}"
                lines.append([r["case"], kind, r["mode"], *micros, ratio, floor, f"`{name}`"])
    head = ["case", "of", "mode", "plain µs", "native µs", "plain / native", "native / floor"]
    return _table([*head, "file"], lines)


def steps_table(results: Results) -> str:
    """Ratios of time and most bytes of live tensors."""
    lines = []
    for name, rows in _rows(results, "phase"):
        summed = {r["case"] for r in rows if r["phase"] == STEP}
        for r in rows:
            if r["case"] in summed and r["phase"] != STEP:
                continue
            for pair, ratio in r["ratios"].items():
                sizes = [r["variants"][v].get("peak_bytes") for v in pair.split(" / ")]
                mb = " / ".join("-" if size is None else f"{size / 1e6:.0f}" for size in sizes)
                lines.append([r["case"], r["phase"], pair, f"{ratio:.2f}", mb, f"`{name}`"])
    return _table(["case", "phase", "time of", "ratio", "their MB", "file"], lines)


def page(results: Results) -> str:
    parts = [
        "Ops: least, median and most over the shapes in the file.",
        ops_table(results),
        "Against plain PyTorch as people write it: no clamp, and calls of few elements.",
        written_table(results),
        "Networks and training steps.",
        steps_table(results),
        "Where the figures come from (threads 1: process CPU time; more: wall time).",
        files_table(results),
    ]
    return "\n\n".join(parts)


def with_tables(text: str, made: str) -> str:
    """`text` with what stands between the two markers replaced.

    Raises:
        ValueError: when a marker is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"benchmarks.tables: the page lacks {END if begin else BEGIN}")
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def _rows(results: Results, key: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for name, document in results.items():
        if rows := [row for row in document["rows"] if key in row]:
            yield name, rows


def _ratios(rows: Iterable[dict[str, Any]], name: str) -> list[float]:
    return [r["variants"][name]["ratio_to_native"] for r in rows if name in r["variants"]]


def _span(values: list[float]) -> str:
    if not values:
        return "-"
    return " – ".join(f"{f(values):.3g}" for f in (min, statistics.median, max))


def _table(head: list[str], lines: Iterable[list[Any]]) -> str:
    every = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in every)


def main() -> None:
    path = HERE / "README.md"
    path.write_text(with_tables(path.read_text(), page(read())))


if __name__ == "__main__":
    main()
