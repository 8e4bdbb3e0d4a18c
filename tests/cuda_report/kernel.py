# SPDX-License-Identifier: Apache-2.0
"""Kernel: what one kernel's machine code for one architecture says about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from tests.cuda_report.device import DEVICES

DEFAULT_THREADS = 256  # kThreads, for a kernel without __launch_bounds__


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """Registers are per thread, bytes of stack per thread, of static shared memory per block.

    The rest counts instructions: global loads and stores and how many of them move 128 bits, how
    many times 16 adjacent bytes are stored in pieces, local-memory loads and stores (spills and
    indexed local arrays), shared-memory accesses, and calls by callee (`div_s64` is a 64-bit
    division).
    """

    name: str
    arch: str
    registers: int
    stack: int = 0
    shared: int = 0
    threads: int = DEFAULT_THREADS
    loads: int = 0
    loads128: int = 0
    stores: int = 0
    stores128: int = 0
    split_stores: int = 0
    local_loads: int = 0
    local_stores: int = 0
    shared_accesses: int = 0
    calls: Mapping[str, int] = field(default_factory=dict)
    instructions: int = 0

    @property
    def occupancy(self) -> float:
        """On the device of `arch`; dynamic shared memory, which only a launch knows, left out."""
        return DEVICES[self.arch].occupancy(
            registers=self.registers, shared=self.shared, threads=self.threads
        )

    @property
    def has_dynamic_shared(self) -> bool:
        """Seen only where there is no static shared memory beside it."""
        return self.shared_accesses > 0 and self.shared == 0

    @property
    def load_share(self) -> Fraction:
        return Fraction(self.loads128, self.loads or 1)

    @property
    def store_share(self) -> Fraction:
        return Fraction(self.stores128, self.stores or 1)
