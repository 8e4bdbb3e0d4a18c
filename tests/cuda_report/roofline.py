# SPDX-License-Identifier: Apache-2.0
"""A model, not a measurement: the time of an op whose only cost is the memory that it moves.

time = bytes / (0.9 · bandwidth) + launches · 3 µs

It knows nothing of arithmetic, latency, occupancy or caches: a tensor that fits the second-level
cache can beat it. Nothing here is proven until a GPU has run it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fastgan.bench.case_files import case_files, load_case_file
from fastgan.bench.op_case import MODES, OpCase
from tests.cuda_report.device import Device

BANDWIDTH_SHARE = 0.9
LAUNCH_SECONDS = 3e-6


@dataclass(frozen=True)
class Row:
    """One case in one mode; bytes that must move, and that the kernels do move."""

    case: OpCase
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


def load_cases() -> list[OpCase]:
    """Of each file in fastgan/bench/ops `gpu_cases()`, which no CPU runs, or else `cases()`."""
    cases = []
    for name in case_files("ops"):
        module = load_case_file("ops", name)
        cases += getattr(module, "gpu_cases", module.cases)()
    return cases


def rows(cases: Iterable[OpCase]) -> Iterator[Row]:
    """Every case in every mode in which it moves anything."""
    for case in cases:
        for mode in MODES:
            if case.floor_bytes(mode):
                yield Row(case, mode)
