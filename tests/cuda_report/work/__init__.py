# SPDX-License-Identifier: Apache-2.0
"""What one thread of each kernel does in a case: the part of a count that no machine code tells.

A file per op, each with `WORK`, a tuple of Work. A kernel whose loops change in number needs its
trip counts looked at again: `python -m tests.cuda_report --source csrc/ops/OP/OP_cuda.cu --loops`
lists the loops as the compiler made them.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass

WARP = 32
ITEM_BYTES = {"float": 4, "bfloat16": 2, "half": 2}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One kernel of an op.

    Args:
        kernel: Its name in the report, such as "op/some_kernel<float, 4>".
        outputs: Elements of the op's output for each thread launched, idle threads included.
        trips: Of each loop of the sm_90 code in the order of `--loops`: how often a thread goes
            round, per entry of the loop; the mean over warps. 0: never, so a branch that has only
            this loop counts nothing.
        moved: Bytes to and from global memory for each element of the op's output.
    """

    kernel: str
    outputs: float
    trips: tuple[float, ...] = ()
    moved: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Work:
    """One row: an op in one case, and the kernels that it launches.

    `least` is the bytes per element of output that cannot be saved, 0 for those that are moved.
    """

    label: str
    parts: tuple[Part, ...]
    least: float = 0.0


def rounds(items: float, threads: int, at_once: int = 1) -> float:
    """Trips of `for (i = thread; i < items; i += threads * at_once)`, the mean over warps."""
    warps = threads // WARP
    return (
        sum(max(0.0, -(-(items - WARP * w) // (threads * at_once))) for w in range(warps)) / warps
    )


def load_work() -> Iterator[Work]:
    """Of every file in this folder."""
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        yield from importlib.import_module(f"{__name__}.{found.name}").WORK
