"""A model, not a measurement: the time of an op whose only cost is the memory that it moves.

time = bytes / (0.9 · bandwidth) + launches · 3 µs

It knows nothing of arithmetic, latency, occupancy or caches: a tensor that fits the second-level
cache can beat it. Nothing here is proven until a GPU has run it.
"""

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import benchmarks
from benchmarks import _runner
from benchmarks._case import MODES, Case
from benchmarks.cuda.device import Device

BANDWIDTH_SHARE = 0.9
LAUNCH_SECONDS = 3e-6


@dataclass(frozen=True)
class Row:
    """One case in one mode; bytes that must move, and that the kernels do move."""

    case: Case
    mode: str

    @property
    def least_bytes(self) -> int:
        return self.case.floor_bytes(self.mode)

    @property
    def moved_bytes(self) -> int:
        return self.case.gpu_bytes(self.mode)

    def seconds(self, device: Device) -> float:
        moving = self.moved_bytes / (BANDWIDTH_SHARE * device.bandwidth)
        return moving + self.case.gpu_launches(self.mode) * LAUNCH_SECONDS


def load_cases() -> list[Case]:
    """Of every bench file `gpu_cases()`, which no CPU has to run, or `cases()` if it has none."""
    cases = []
    for path in _runner.bench_files().values():
        parts = path.relative_to(Path(benchmarks.__file__).parent).with_suffix("").parts
        module = importlib.import_module(".".join(("benchmarks", *parts)))
        cases += getattr(module, "gpu_cases", module.cases)()
    return cases


def rows(cases: Iterable[Case]) -> Iterator[Row]:
    """Every case in every mode in which it moves anything."""
    for case in cases:
        for mode in MODES:
            if case.floor_bytes(mode):
                yield Row(case, mode)
