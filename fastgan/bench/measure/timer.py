# SPDX-License-Identifier: Apache-2.0
"""Interleaved timing: every round times every variant once, so that load hits all of them alike."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

_FLUSH_BYTES = 128 * 2**20
_CUDA_MOST_CALLS = 100  # per sample


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How rows are measured.

    Args:
        device: "cpu", or "cuda", where the clock is the GPU's, between two events; ops are timed
            there by `fastgan.bench.measure.graph_timer`.
        threads: 1 uses the process CPU clock, which other processes do not disturb; more threads
            use wall time.
        rounds: samples of each variant.
        sample_seconds: time that the calls of one sample fill together.
        cache: "warm" repeats a variant on the same tensors after one untimed call; "cold", for the
            CPU only, writes 128 MiB before every call, outside the clock.

    Raises:
        ValueError: when a number is below 1, a name is none of these, or cache is "cold" on CUDA.
    """

    device: str = "cpu"
    threads: int = 1
    rounds: int = 9
    sample_seconds: float = 0.03
    cache: str = "warm"

    def __post_init__(self) -> None:
        if self.threads < 1 or self.rounds < 1:
            raise ValueError(
                f"Protocol: threads and rounds must be ≥ 1, got {self.threads} and {self.rounds}"
            )
        if self.cache not in ("warm", "cold"):
            raise ValueError(f"Protocol: cache must be 'warm' or 'cold', got {self.cache!r}")
        if self.device not in ("cpu", "cuda"):
            raise ValueError(f"Protocol: device must be 'cpu' or 'cuda', got {self.device!r}")
        if self.device == "cuda" and self.cache == "cold":
            raise ValueError(
                "Protocol: cache='cold' is for device='cpu'; on CUDA the calls rotate over more "
                "memory than the L2 holds, leave it out"
            )

    @property
    def clock(self) -> str:
        if self.device == "cuda":
            return "CUDA events around replays of CUDA graphs"
        return "process CPU time" if self.threads == 1 else "wall time"

    def now(self) -> float:
        return time.process_time() if self.threads == 1 else time.perf_counter()


@dataclass(frozen=True)
class Samples:
    """Seconds per call of each variant, one entry per round."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratios(self, name: str, base: str) -> list[float]:
        """name / base, round by round."""
        pairs = zip(self.seconds[name], self.seconds[base], strict=True)
        return [a / b for a, b in pairs]


def measure(variants: Mapping[str, Callable[[], object]], protocol: Protocol) -> Samples:
    """Times `variants` in one process: `protocol.rounds` rounds of one sample of each.

    A sample is as many calls as fill `sample_seconds` (found in the warm-up), averaged. The order
    rotates by one from round to round, so that no variant always runs behind the same one. On the
    CPU a call that alone takes ten times as long is timed at once, without an untimed one before.

    Args:
        variants: name → a function that is called without arguments.
        protocol: clock, rounds and cache.

    Returns:
        Seconds per call of each variant, one entry per round.
    """
    sampler = _EventSampler(protocol) if protocol.device == "cuda" else _Sampler(protocol)
    calls = {name: sampler.calls_per_sample(fn) for name, fn in variants.items()}
    names = list(variants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for i in range(protocol.rounds):
            turn = i % len(names)
            for name in names[turn:] + names[:turn]:
                seconds[name].append(sampler.sample(variants[name], calls[name]))
    finally:
        gc.enable()
    return Samples(seconds)


class _Sampler:
    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        size = _FLUSH_BYTES if protocol.cache == "cold" else 0
        self.flush = torch.empty(size, dtype=torch.uint8)
        self.long: set[Callable[[], object]] = set()

    def calls_per_sample(self, fn: Callable[[], object]) -> int:
        start = self.protocol.now()
        fn()  # first calls build graphs, pick oneDNN kernels, grow the heap
        limit = 10 * self.protocol.sample_seconds
        if self.protocol.now() - start > limit:
            self.long.add(fn)
        once = max(self.sample(fn, 1), 1e-7)
        if once <= limit:
            self.long.discard(fn)
        return max(1, round(self.protocol.sample_seconds / once))

    def sample(self, fn: Callable[[], object], calls: int) -> float:
        """Seconds per call over `calls` calls."""
        now = self.protocol.now
        if self.protocol.cache == "warm":
            if fn not in self.long:
                fn()
            start = now()
            for _ in range(calls):
                fn()
            return (now() - start) / calls
        total = 0.0
        for _ in range(calls):
            self.flush.add_(1)
            start = now()
            fn()
            total += now() - start
        return total / calls


class _EventSampler:
    """Seconds that the GPU takes between two events around the calls, which stand in one queue.

    A call that the GPU does faster than the host launches it is timed by its launch.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol

    def calls_per_sample(self, fn: Callable[[], object]) -> int:
        fn()  # first calls load modules, pick algorithms, fill the allocator's cache
        once = max(self.sample(fn, 3), 1e-7)
        return min(max(1, round(self.protocol.sample_seconds / once)), _CUDA_MOST_CALLS)

    def sample(self, fn: Callable[[], object], calls: int) -> float:
        """Seconds per call over `calls` calls; waits for the last."""
        fn()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            fn()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / calls
