# SPDX-License-Identifier: Apache-2.0
"""The GPUs that the report speaks of: what a multiprocessor holds, and how fast memory is."""

from dataclasses import dataclass

_LANES = 32
_REGISTER_STEP = 256  # registers are given to a warp in multiples of this
_SHARED_STEP = 128
_RESERVED_SHARED = 1024  # bytes that the system takes of every block, from sm_80 on
_SCHEDULERS = 4  # each owns a quarter of the registers


@dataclass(frozen=True, kw_only=True)
class Device:
    """Limits per multiprocessor (CUDA C++ Programming Guide, "Compute Capabilities"); bytes/s."""

    name: str
    arch: str
    bandwidth: float
    shared_bytes: int
    registers: int = 65536
    warps: int = 64
    blocks: int = 32

    def occupancy(self, *, registers: int, shared: int, threads: int) -> float:
        """Resident warps over possible warps, 0 to 1, for blocks of `threads` threads.

        `registers` are per thread, `shared` is bytes per block. 0: the kernel cannot be launched.
        """
        warps = -(-threads // _LANES)
        per_warp = _round_up(max(registers, 1) * _LANES, _REGISTER_STEP)
        warps_by_registers = _SCHEDULERS * (self.registers // _SCHEDULERS // per_warp)
        per_block = _round_up(shared + _RESERVED_SHARED, _SHARED_STEP)
        blocks = min(
            self.blocks,
            self.warps // warps,
            warps_by_registers // warps,
            self.shared_bytes // per_block,
        )
        return blocks * warps / self.warps


A100 = Device(name="A100-80GB", arch="sm_80", bandwidth=2039e9, shared_bytes=164 * 1024)
H100 = Device(name="H100 SXM", arch="sm_90", bandwidth=3350e9, shared_bytes=228 * 1024)
DEVICES = {device.arch: device for device in (A100, H100)}


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step
