"""How the phases of a step are run: eagerly, or each as one CUDA graph after a warm-up.

On CUDA, with capture="auto", a phase (forward, backward, double backward, all_reduce, Adam, EMA,
statistics) is called WARM_UPS times on one side stream, as ordinary steps of the run: lazily made
handles and workspaces then belong to that stream, and no step is lost. The next call captures it
there, and from then on that graph is replayed: one launch by the host. The second call runs under
`fastgan.training.step.capture_guard`, which raises an error that names the module where a phase
does what a graph can't contain.

A graph reads and writes persistent tensors only: weights, flat buffers, device scalars (lr, EMA
weight, ADA's p, the penalties' scale), statistics, and a batch of the first call's shape into which
each batch is copied. So all graphs share one memory pool. The values that a graph keeps from the
host (the configuration, Adam's β and ε, train or eval mode) are compared before every replay; where
one of them changed, the phases are warmed up and captured again. A parameter or gradient that is no
longer in its flat buffer, and a batch of another shape, raise an error that names it.

Validation: an earlier version of this code has run on one H200 (benchmarks/results/gpu). The host's
part below is tested without a GPU, with graphs that record operators and run them again
(tests/training/step/test_capture.py), and `make capture-lint` checks that no phase of a shipped
recipe does what a graph can't contain.
"""

import contextlib
import gc
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fastgan.training.step.batch import Batch
from fastgan.training.step.capture_guard import CaptureError, capture_guard

__all__ = ["WARM_UPS", "CaptureError", "CudaGraphs", "Graphs", "PhaseRunner", "phases_note"]

WARM_UPS = 3
_GUARDED = 1  # the second call: a first one may still build caches from host values

_log = logging.getLogger("fastgan")


class Graphs(Protocol):
    """What `PhaseRunner` needs of a device that can capture."""

    def warm_up(self, call: Callable[[], None]) -> None:
        """Runs `call` on the stream that will capture it."""

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        """Records `call` without running it; returns a function that replays it."""


class CudaGraphs:
    """CUDA graphs of one device, on one side stream and in one memory pool.

    Example:
        graphs = CudaGraphs(torch.device("cuda"))
        graphs.warm_up(call)
        replay = graphs.capture(call)
    """

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, call: Callable[[], None]) -> None:
        """Runs `call` on the side stream; later work on the current stream waits for it."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            call()
        current.wait_stream(self._stream)

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        """Captures `call` as one graph; returns its replay."""
        gc.collect()  # not during the capture: an old graph's memory may not be freed in it
        graph = torch.cuda.CUDAGraph()
        # Threads that fill pinned batches meanwhile allocate: only this thread's calls count.
        with (
            _no_garbage_collection(),
            torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ),
        ):
            call()
        return graph.replay


def phases_note(mode: str, device: torch.device) -> str:
    """`PhaseRunner.note` of a run with this `StepConfig.capture` on this device."""
    return _note(_why_eager(mode, device, None))


def _why_eager(mode: str, device: torch.device, graphs: Graphs | None) -> str | None:
    if mode == "off":
        return "capture is off"
    if graphs is None and device.type != "cuda":
        return f"a {device.type} device has no CUDA graphs"
    return None


def _note(reason: str | None) -> str:
    if reason is not None:
        return f"phases run eagerly: {reason}"
    return f"each phase runs as one CUDA graph after {WARM_UPS} eager calls"


@dataclass
class _Phase:
    calls: int = 0
    replay: Callable[[], None] | None = None


class PhaseRunner:
    """Runs the phases of one state, eagerly or as CUDA graphs.

    Args:
        mode: `StepConfig.capture`: "auto" or "off".
        device: of the state.
        graphs: replaces the device's own, in tests.

    Attributes:
        note: one line that says how phases run and, if eagerly, why.
    """

    def __init__(self, mode: str, device: torch.device, graphs: Graphs | None = None):
        reason = _why_eager(mode, device, graphs)
        self.note = _note(reason)
        self._device = device
        self._graphs = None
        if reason is None:
            self._graphs = CudaGraphs(device) if graphs is None else graphs
        self._phases: dict[tuple[str, Hashable], _Phase] = {}
        self._batch: Batch | None = None
        self._host_values: tuple[Any, ...] | None = None
        _log.info("%s", self.note)

    @property
    def is_capturing(self) -> bool:
        """Whether phases become graphs."""
        return self._graphs is not None

    def begin_step(self, batch: Batch, host_values: tuple[Any, ...]) -> Batch:
        """The batch that this step's phases must be given: the persistent one, filled.

        Args:
            batch: of the first call's shapes and dtypes.
            host_values: all that the phases read on the host. Graphs that were captured with other
                values are dropped.

        Raises:
            ValueError: when the batch differs from the first one in shape or dtype.
        """
        if self._graphs is None:
            return batch
        if host_values != self._host_values:
            self._phases.clear()
            self._host_values = host_values
        if self._batch is None:
            c = None if batch.c is None else torch.empty_like(batch.c, device=self._device)
            self._batch = Batch(x=torch.empty_like(batch.x, device=self._device), c=c)
        for name, static, new in (
            ("x", self._batch.x, batch.x),
            ("c", self._batch.c, batch.c),
        ):
            _write(name, static, new)
        return self._batch

    def __call__(
        self,
        name: str,
        call: Callable[[], None],
        networks: Mapping[str, nn.Module],
        *,
        variant: Hashable = None,
    ) -> None:
        """Runs one phase.

        Args:
            name: of the phase. Its graph is found again by (name, variant).
            call: runs the phase on the batch of `begin_step`.
            networks: name → module, for the message of a CaptureError.
            variant: tells calls of one phase apart that do not do the same, such as the one
                that also ends the step.

        Raises:
            CaptureError: when the phase can't be captured.
        """
        if self._graphs is None:
            call()
            return
        phase = self._phases.setdefault((name, variant), _Phase())
        phase.calls += 1
        if phase.replay is None and phase.calls > WARM_UPS:
            with capture_guard(name, networks, self._device, is_strict=False):
                phase.replay = self._graphs.capture(call)
        if phase.replay is not None:
            phase.replay()
            return
        if phase.calls - 1 == _GUARDED:
            with capture_guard(name, networks, self._device, is_strict=True):
                self._graphs.warm_up(call)
        else:
            self._graphs.warm_up(call)


def _write(name: str, static: Tensor | None, new: Tensor | None) -> None:
    if static is None and new is None:
        return
    if static is None or new is None or static.shape != new.shape or static.dtype != new.dtype:
        shown = ["none" if t is None else f"{tuple(t.shape)} {t.dtype}" for t in (static, new)]
        raise ValueError(
            f"train_step: {name} of the batch must stay {shown[0]}, with which the CUDA graphs "
            f"were captured, got {shown[1]}; drop an incomplete last batch, or set capture='off'"
        )
    static.copy_(new, non_blocking=True)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
