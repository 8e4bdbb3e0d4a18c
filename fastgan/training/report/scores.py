# SPDX-License-Identifier: Apache-2.0
"""What report.html shows of metric-*.jsonl: a chart of each metric."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fastgan.training.loop.run_files import RunFiles
from fastgan.training.report.charts import format_number, line_chart

__all__ = ["score_charts", "settings", "value_and_interval"]

_SETTINGS = ("num_fake", "num_real", "extractor", "resize", "data", "seed", "truncation_cutoff",
             "label")  # fmt: skip


def score_charts(run: RunFiles) -> list[str]:
    """A chart of each metric, with intervals as bands, and in notes what the values depend on.

    Values that cannot be compared are in lines of their own.

    Args:
        run: the run's files.

    Returns:
        HTML of the charts, by the names of the metrics.
    """
    return [_chart(name, _by_settings(name, rows)) for name, rows in run.scores.items()]


def _chart(name: str, lines: Mapping[str, list[dict]]) -> str:
    notes = []
    for label, rows in lines.items():
        newest = rows[-1]
        value, kimg = value_and_interval(newest, name), format_number(newest["kimg"])
        prefix = f"{label}: " if len(lines) > 1 else ""
        notes.append(f"{prefix}{value} at {kimg} kimg{settings(newest)}")
    return line_chart(
        name,
        {label: [(row["kimg"], row["results"][name]) for row in rows]
         for label, rows in lines.items()},
        intervals={label: [(row["kimg"], *row["interval"]) for row in rows if row.get("interval")]
                   for label, rows in lines.items()},
        notes=notes,
    )  # fmt: skip


def _by_settings(name: str, rows: Iterable[dict]) -> dict[str, list[dict]]:
    """The lines of a chart: "kid_lite0", or "kid_lite0 (1)" ... where settings differ."""
    found: dict[str, list[dict]] = {}
    for row in rows:
        key = json.dumps([row.get(setting) for setting in _SETTINGS] + [_psi(row)])
        found.setdefault(key, []).append(row)
    if len(found) == 1:
        return {name: next(iter(found.values()))}
    return {f"{name} ({i + 1})": some for i, some in enumerate(found.values())}


def _psi(row: Mapping[str, Any]) -> float:
    return float(row.get("truncation_psi", 1))  # lines of earlier runs have no such key


def value_and_interval(row: Mapping[str, Any], name: str) -> str:
    """Such as "0.52 [0.48, 0.56]".

    Args:
        row: a line of metric-NAME.jsonl.
        name: of the metric.
    """
    low_high = row.get("interval")
    reach = f" [{', '.join(map(format_number, low_high))}]" if low_high else ""
    return format_number(row["results"][name]) + reach


def settings(row: Mapping[str, Any]) -> str:
    """What a value depends on, as far as its line says so; "" where it says nothing.

    Args:
        row: a line of metric-NAME.jsonl.
    """
    if "num_fake" not in row:
        return ""
    trunc = "" if _psi(row) == 1 else f", truncation psi {_psi(row):g}"
    if row.get("truncation_cutoff") is not None:
        trunc += f" in {row['truncation_cutoff']} layers"
    label = "" if row.get("label") is None else f", label {row['label']}"
    how = f"; interval: {row['interval_method']}" if row.get("interval_method") else ""
    return (
        f"; {row['num_fake']} generated and {row['num_real']} real samples; features: "
        f"{row['extractor']}, resizing: {row['resize']}, seed {row.get('seed')}{trunc}{label}{how}"
    )
