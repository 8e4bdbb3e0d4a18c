# SPDX-License-Identifier: Apache-2.0
"""Instructions per output element, the share of a copy's bandwidth that they allow, and ceilings.

Each row is an op in a case (`work/`): Σ over its kernels of the instructions that a thread issues
(flow.py), divided by the outputs of a thread. Predicted time of an output on an H200: for each
kernel i = instructions / 25 T/s and b = bytes / 4.09 TB/s take (i⁴ + b⁴)^¼, which is the longer of
the two, and up to a fifth more where they are alike and do not overlap perfectly. The share is the
time of a copy of the bytes that cannot be saved over it. A prediction, until a GPU has run it.

`ceilings.json` holds a ceiling per row that may only fall: a row above it fails, `--write-baseline`
writes a lower one and never a higher one. To raise one, edit the file and give the reason.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cuda_report.flow import Flow, FlowError
from tests.cuda_report.work import Work

PATH = Path(__file__).with_name("ceilings.json")
ARCH = "sm_90"
INSTRUCTIONS_PER_SECOND = 25e12  # of single lanes: 132 · 4 · 32 each cycle, at 1.5 GHz
COPY_BYTES_PER_SECOND = 4.09e12


@dataclass(frozen=True)
class Row:
    """`instructions` is None where they cannot be counted, and `problem` says why."""

    label: str
    kernels: tuple[str, ...]
    instructions: float | None
    share: float = 0.0
    problem: str = ""


def rows(flows: Mapping[str, Flow], works: Iterable[Work]) -> list[Row]:
    """Of every Work, with the control flow of kernels by name."""
    return [_row(flows, work) for work in works]


def _row(flows: Mapping[str, Flow], work: Work) -> Row:
    kernels = tuple(part.kernel for part in work.parts)
    total = seconds = moved = 0.0
    for part in work.parts:
        if part.kernel not in flows:
            return Row(work.label, kernels, None, problem=f"there is no {part.kernel} for {ARCH}")
        try:
            count = flows[part.kernel].instructions(part.trips) / part.outputs
        except FlowError as error:
            return Row(work.label, kernels, None, problem=f"{part.kernel}: {error}")
        total, moved = total + count, moved + part.moved
        issued = count / INSTRUCTIONS_PER_SECOND
        seconds += (issued**4 + (part.moved / COPY_BYTES_PER_SECOND) ** 4) ** 0.25
    share = (work.least or moved) / COPY_BYTES_PER_SECOND / seconds
    return Row(work.label, kernels, math.ceil(total * 10 - 1e-6) / 10, share)


def table(found: Iterable[Row], ceilings: Mapping[str, float]) -> str:
    """In Markdown."""
    lines = [
        "| op | instructions per output element | ceiling | predicted share of copy bandwidth |",
        "| --- | --- | --- | --- |",
    ]
    for row in found:
        count = "?" if row.instructions is None else f"{row.instructions:.1f}"
        ceiling = f"{ceilings[row.label]:.1f}" if row.label in ceilings else "none"
        lines.append(f"| {row.label} | {count} | {ceiling} | {row.share:.0%} |")
    return "\n".join(lines)


def compare(found: Sequence[Row], ceilings: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """What is above its ceiling or cannot be counted, and what is below: a line each."""
    worse, better = [], []
    for row in found:
        ceiling = ceilings.get(row.label)
        if row.instructions is None:
            worse.append(f"{row.label}: {row.problem}; edit tests/cuda_report/work")
        elif ceiling is None:
            worse.append(f"{row.label}: no ceiling; run --write-baseline and review the diff")
        elif row.instructions > ceiling:
            worse.append(
                f"{row.label}: {row.instructions} instructions per output element, ceiling "
                f"{ceiling}; {', '.join(row.kernels)} became longer"
            )
        elif row.instructions < ceiling:
            better.append(
                f"{row.label}: {ceiling} → {row.instructions} instructions per output element"
            )
    return worse, better


def read(path: Path = PATH) -> dict[str, float]:
    """Empty where there is no file."""
    return json.loads(path.read_text()) if path.is_file() else {}


def write(found: Iterable[Row], path: Path = PATH, *, keep: Collection[str] = ()) -> None:
    """New and lower ceilings; none rises. `keep`: labels that stay though `found` has no row."""
    old = read(path)
    new = {label: ceiling for label, ceiling in old.items() if label in keep}
    for row in found:
        if row.instructions is not None:
            new[row.label] = min(row.instructions, old.get(row.label, row.instructions))
        elif row.label in old:
            new[row.label] = old[row.label]
    path.write_text(json.dumps(dict(sorted(new.items())), indent=1) + "\n")
