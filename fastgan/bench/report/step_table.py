# SPDX-License-Identifier: Apache-2.0
"""Rows of steps and networks as a table, as JSON and as bars."""

from collections.abc import Sequence
from typing import Any

from fastgan.bench.measure.step_rows import StepRow
from fastgan.bench.report.text_table import aligned, milliseconds


def row_json(row: StepRow) -> dict[str, Any]:
    """`failure` joins the words of all wrong variants, which have no numbers."""
    return {
        "case": row.case.name,
        "phase": row.phase,
        "per_step": row.case.schedule.get(row.phase) if row.case.is_summed else None,
        "failure": "; ".join(f"{name}: {why}" for name, why in row.failures.items()) or None,
        "absent": dict(row.absent),
        "variants": {
            name: {
                "seconds": row.median(name),
                "rounds": seconds,
                "peak_bytes": row.peak_bytes.get(name),
                "page_faults": row.faults.get(name),
            }
            for name, seconds in row.seconds.items()
        },
        "ratios": {
            f"{name} / {base}": row.ratio(name, base)
            for name, base in row.case.pairs
            if name in row.seconds and base in row.seconds
        },
    }


def table(data: Sequence[dict[str, Any]]) -> str:
    """A table for each case: milliseconds, ratios, peak live MB and page faults of every phase.

    A wrong variant says so in words. Below the tables stand the rows where native is slower, and
    why a number is missing.

    Args:
        data: of `row_json`.
    """
    parts = []
    for case in dict.fromkeys(r["case"] for r in data):
        parts.append(f"{case}\n{_case_table([r for r in data if r['case'] == case])}")
    absent = {f"{n}: {why}" for r in data for n, why in r["absent"].items()}
    losses = [
        f"native is slower ({pair} = {ratio:.2f}): {r['case']} {r['phase']}"
        for r in data
        for pair, ratio in r["ratios"].items()
        if round(ratio, 2) < 1 and pair.split(" / ")[1].startswith("native")
    ]
    return "\n".join(["\n\n".join(parts), *(f"-: {why}" for why in sorted(absent)), *losses])


def bars(data: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, float]]]:
    """For the chart: "case phase" → "a / b" → ratio."""
    return [(f"{r['case']} {r['phase']}", r["ratios"]) for r in data if r["ratios"]]


def _case_table(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(n for r in rows for n in r["variants"]))
    pairs = list(dict.fromkeys(p for r in rows for p in r["ratios"]))
    has_memory = any(_value(r, n, "peak_bytes") is not None for r in rows for n in names)
    is_step = any(r["per_step"] is not None for r in rows)
    head = ["phase", *(["per step"] if is_step else []), *(f"{n} ms" for n in names), *pairs]
    head += [f"{n} MB" for n in names] + [f"{n} faults" for n in names] if has_memory else []
    lines = [head]
    for r in rows:
        often = r["per_step"]
        cells = [r["phase"], *(["" if often is None else f"{often:.3g}"] if is_step else [])]
        cells += [milliseconds(_value(r, n, "seconds")) for n in names]
        cells += [f"{r['ratios'][p]:.2f}" if p in r["ratios"] else "-" for p in pairs]
        if has_memory:
            cells += [_number(_value(r, n, "peak_bytes"), 1e6) for n in names]
            cells += [_number(_value(r, n, "page_faults"), 1) for n in names]
        lines.append(cells)
    wrong = [f"WRONG, not measured: {r['phase']} {r['failure']}" for r in rows if r["failure"]]
    return "\n".join([aligned(lines), *wrong])


def _value(row: dict[str, Any], name: str, key: str) -> float | None:
    return row["variants"].get(name, {}).get(key)


def _number(value: float | None, unit: float) -> str:
    return "-" if value is None else f"{value / unit:.0f}"
