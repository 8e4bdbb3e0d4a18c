"""A report names everything that its numbers depend on, as a table and as JSON."""

import os
import platform
import statistics
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import fastgan
from benchmarks._runner import BASE, FLOOR, Row
from benchmarks._timer import Protocol
from fastgan.ops import library_facts


def environment(protocol: Protocol) -> dict[str, Any]:
    """Device, CPU, ISA, threads, commit, versions, allocator, load and protocol, JSON-able."""
    return {
        "device": torch.cuda.get_device_name() if protocol.device == "cuda" else "cpu",
        "cuda": torch.version.cuda,
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "isa": library_facts()["cpu_isa"],
        "isa_torch": torch.backends.cpu.get_cpu_capability(),
        "threads": protocol.threads,
        "commit": _commit(),
        "fastgan": fastgan.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "compiler": library_facts()["compiler"],
        "allocator": _allocator(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "protocol": asdict(protocol) | {"clock": protocol.clock},
    }


def row_json(row: Row) -> dict[str, Any]:
    """One row: either `failure` is words and `variants` empty, or the reverse."""
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
        "variants": {} if row.samples is None else {n: _variant(row, n) for n in _names(row)},
    }


def table(rows: Iterable[Row]) -> str:
    """Milliseconds per call and ratios to native, aligned; failures in words, where native loses.

    `x/native` is the median over rounds: above 1, native is faster.
    """
    data = [row_json(row) for row in rows]
    others = [n for n in ("reference", "compile") if any(n in r["variants"] for r in data)]
    head = ["op", "case", "dtype", "layout", "mode", "floor ms", "native ms"]
    head += [f"{n} ms" for n in others] + [f"{n}/native" for n in others] + ["native/floor"]
    lines, footer = [head], []
    for r in data:
        label = [r["op"], r["case"], r["dtype"], r["layout"], r["mode"]]
        if r["failure"] is not None:
            lines.append([*label, f"WRONG, not measured: {r['failure']}"])
            continue
        seconds = {n: v["seconds"] for n, v in r["variants"].items()}
        ratios = {n: v["ratio_to_native"] for n, v in r["variants"].items()}
        cells = [_ms(r["floor_seconds"])] + [_ms(seconds.get(n)) for n in (BASE, *others)]
        cells += [f"{ratios[n]:.2f}" if n in ratios else "-" for n in others]
        lines.append([*label, *cells, f"{seconds[BASE] / r['floor_seconds']:.2f}"])
        footer += [
            f"native loses to {n} ({ratios[n]:.2f}): {' '.join(label)}"
            for n in others
            if n in ratios and ratios[n] < 1
        ]
    absent = {why for r in data for why in r["absent"].values()}
    return "\n".join([_aligned(lines), *(f"-: {why}" for why in sorted(absent)), *footer])


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


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.3g}"


def _aligned(lines: list[list[str]]) -> str:
    columns = range(len(lines[0]) - 1)  # the last cell of a line is not padded
    width = [max((len(line[i]) for line in lines if len(line) > i + 1), default=0) for i in columns]
    padded = ([*map(str.ljust, line[:-1], width), line[-1]] for line in lines)
    return "\n".join("  ".join(cells) for cells in padded)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _allocator() -> str:
    preloaded = [Path(p).name for p in os.environ.get("LD_PRELOAD", "").replace(":", " ").split()]
    libc = " ".join(platform.libc_ver()).strip() or platform.system()
    return f"{libc} malloc" + (f", LD_PRELOAD {' '.join(preloaded)}" if preloaded else "")


def _commit() -> str:
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return "not a git checkout"
    head, changes = (
        subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=True).stdout
        for args in (("rev-parse", "HEAD"), ("status", "--porcelain"))
    )
    return head.strip() + (" with uncommitted changes" if changes else "")
