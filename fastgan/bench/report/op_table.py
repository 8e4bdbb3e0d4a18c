# SPDX-License-Identifier: Apache-2.0
"""Rows of ops as a table and as JSON."""

import statistics
from collections.abc import Sequence
from typing import Any

from fastgan.bench.measure.op_rows import BASE, FLOOR, Row
from fastgan.bench.measure.timer import Samples
from fastgan.bench.report.text_table import aligned, milliseconds


def row_json(row: Row) -> dict[str, Any]:
    """One row as JSON values: either `failure` is words and `variants` empty, or the reverse."""
    case = row.case
    return {
        "op": case.op,
        "case": case.name,
        "shapes": [list(shape) for shape in case.shapes],
        "dtype": str(case.dtype).removeprefix("torch."),
        "layout": case.layout,
        "mode": row.mode,
        "floor_bytes": case.floor_bytes(row.mode),
        "floor_seconds": _floor(row),
        "failure": row.failure,
        "absent": dict(row.absent),
        "is_as_written": case.is_as_written,
        "has_kernel": row.has_kernel,
        "sets": row.sets,
        "bound": None if row.bound is None else str(row.bound),
        "launched": {} if row.launched is None else _medians(row.launched),
        "variants": {} if row.samples is None else {n: _variant(row, n) for n in _names(row)},
    }


def table(data: Sequence[dict[str, Any]]) -> str:
    """An aligned table of milliseconds per call and ratios to native.

    `x/native` is the median over rounds: above 1, native is faster. Below the table stand the rows
    where native is slower, and why a number is missing. On CUDA all times are of CUDA graphs but
    for "launched ms", native's when the host launches it.

    Args:
        data: of `row_json`.
    """
    others = [n for n in ("reference", "compile") if any(n in r["variants"] for r in data)]
    head = ["op", "case", "dtype", "layout", "mode", "floor ms", "native ms"]
    head += [f"{n} ms" for n in others] + [f"{n}/native" for n in others] + ["native/floor"]
    is_gpu = any(r["launched"] for r in data)
    head += ["launched ms", "bound by"] if is_gpu else []
    lines, footer = [head], []
    for r in data:
        label = [r["op"], r["case"], r["dtype"], r["layout"], r["mode"]]
        if r["failure"] is not None:
            lines.append([*label, f"WRONG, not measured: {r['failure']}"])
            continue
        seconds = {n: v["seconds"] for n, v in r["variants"].items()}
        ratios = {n: v["ratio_to_native"] for n, v in r["variants"].items()}
        cells = [milliseconds(r["floor_seconds"])]
        cells += [milliseconds(seconds.get(n)) for n in (BASE, *others)]
        cells += [f"{ratios[n]:.2f}" if n in ratios else "-" for n in others]
        cells.append(f"{seconds[BASE] / r['floor_seconds']:.2f}")
        cells += [milliseconds(r["launched"].get(BASE)), r["bound"] or "-"] if is_gpu else []
        lines.append([*label, *cells])
        footer += [
            f"native is slower than {n} ({n}/native = {ratios[n]:.2f}): {' '.join(label)}"
            for n in others
            if n in ratios and round(ratios[n], 2) < 1
        ]
    absent = {why for r in data for why in r["absent"].values()}
    plain = dict.fromkeys(r["op"] for r in data if not (r["has_kernel"] or r["is_as_written"]))
    footer += [
        f"{op} has no native kernel on this device by design: native is fastgan's derivative "
        "formulas in plain PyTorch"
        for op in plain
    ]
    return "\n".join([aligned(lines), *(f"-: {why}" for why in sorted(absent)), *footer])


def _medians(samples: Samples) -> dict[str, float]:
    return {name: samples.median(name) for name in samples.seconds}


def _names(row: Row) -> list[str]:
    return [name for name in row.samples.seconds if name != FLOOR]


def _variant(row: Row, name: str) -> dict[str, Any]:
    ratios = row.samples.ratios(name, BASE)
    return {
        "seconds": row.samples.median(name),
        "ratio_to_native": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
        "rounds": row.samples.seconds[name],
    }


def _floor(row: Row) -> float | None:
    return None if row.samples is None else row.samples.median(FLOOR) * row.floor_factor


def bars(data: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, float]]]:
    """For the chart: "op case dtype layout mode" → other variant → its time over native's."""
    labels = ("op", "case", "dtype", "layout", "mode")
    return [
        (
            " ".join(r[name] for name in labels),
            {n: v["ratio_to_native"] for n, v in r["variants"].items() if n != BASE},
        )
        for r in data
        if r["failure"] is None
    ]
