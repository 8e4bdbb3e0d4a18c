# SPDX-License-Identifier: Apache-2.0
"""Times on CUDA without the host: replays of CUDA graphs whose calls rotate over sets of buffers.

A call that the GPU finishes sooner than the host launches it would be timed by its launch, and one
that finds its tensors in the L2 from the last call would be timed without memory. So each variant
gets one graph of one call per set of tensors, and all sets together are larger than the L2: when a
set's turn comes again, nothing of it is left there. What a call makes is kept until the end of the
capture, so that outputs rotate, too. All variants, eager PyTorch and torch.compile among them, are
timed in the same way. Beside it stands the time of the same calls when the host launches them.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

import torch

from fastgan.bench.measure.timer import Protocol, Samples, measure
from fastgan.training.step.capture import WARM_UPS, CudaGraphs

__all__ = ["FILL", "Bound", "GraphSamples", "bound", "cache_bytes", "measure_graphs", "num_sets"]

FILL = 4.0  # all sets together, in sizes of the L2
LEAST_SETS, MOST_SETS = 2, 128
_SHARE = 0.75  # of the measured time that an explanation must account for
_LAUNCH_ROUNDS = 3

Call = Callable[[], object]


@dataclass(frozen=True)
class GraphSamples:
    """Seconds per call of each variant: in graphs, and launched by the host."""

    graphs: Samples
    launched: Samples


@dataclass(frozen=True)
class Bound:
    """What a row's time consists of.

    Attributes:
        in_graph: "bytes", "instructions", or "latency" where neither accounts for 75 % of the time
            (small kernels, dependent launches, atomics).
        is_host: whether the host takes a third longer to launch the calls than the GPU to compute
            them: without a graph the row would time the host.
    """

    in_graph: str
    is_host: bool

    def __str__(self) -> str:
        return f"{self.in_graph}; host when launched" if self.is_host else self.in_graph


def bound(
    seconds: float,
    *,
    launched: float,
    moving: float,
    instructing: float | None = None,
) -> Bound:
    """What bounds a call.

    Args:
        seconds: of a call in a graph.
        launched: of a call that the host launches.
        moving: that its bytes take at the speed of a copy.
        instructing: that its instructions take, where they were counted.
    """
    explained = {"bytes": moving, "instructions": instructing or 0.0}
    name = max(explained, key=explained.get)
    in_graph = name if explained[name] >= _SHARE * seconds else "latency"
    return Bound(in_graph, launched * _SHARE >= seconds)


def cache_bytes(device: str) -> int:
    """Bytes of the L2 of a CUDA device; 0 for a CPU."""
    if device == "cpu":
        return 0
    return torch.cuda.get_device_properties(device).L2_cache_size


def num_sets(set_bytes: int, l2_bytes: int) -> int:
    """How many sets of tensors of `set_bytes` fill the L2 FILL times: from 2 to 128."""
    wanted = math.ceil(FILL * l2_bytes / max(set_bytes, 1))
    return min(max(wanted, LEAST_SETS), MOST_SETS)


def measure_graphs(calls: Mapping[str, Sequence[Call]], protocol: Protocol) -> GraphSamples:
    """Times variants, as `measure` does, in graphs and launched.

    Args:
        calls: variant → one call per set of tensors. A call returns what it makes.
        protocol: its device is "cuda"; on "cpu", for tests, graphs are plain loops.
    """
    with _Graphs(protocol.device) as graphs:
        replays = {name: graphs.of(each) for name, each in calls.items()}
        sizes = {name: len(each) for name, each in calls.items()}
        replayed = _per_call(measure(replays, protocol), sizes)
    loops = {name: _all_of(each) for name, each in calls.items()}
    brief = dataclasses.replace(protocol, rounds=min(protocol.rounds, _LAUNCH_ROUNDS))
    return GraphSamples(replayed, _per_call(measure(loops, brief), sizes))


def _per_call(samples: Samples, sizes: Mapping[str, int]) -> Samples:
    return Samples({n: [s / sizes[n] for s in rounds] for n, rounds in samples.seconds.items()})


def _all_of(calls: Sequence[Call]) -> Call:
    def run() -> None:
        kept = [call() for call in calls]
        del kept  # only now: each call wrote to memory of its own

    return run


class _Graphs:
    """Makes graphs on one device, and destroys them at its end."""

    def __init__(self, device: str):
        self._graphs = None if device == "cpu" else CudaGraphs(torch.device(device))

    def of(self, calls: Sequence[Call]) -> Call:
        """All calls, one after another, as one graph's replay."""
        run = _all_of(calls)
        if self._graphs is None:
            return run
        for _ in range(WARM_UPS):
            self._graphs.warm_up(run)
        return self._graphs.capture(run)

    def __enter__(self) -> "_Graphs":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._graphs is not None:
            self._graphs.release()
