"""How the phases of a step are run: eagerly, or each as one CUDA graph once it is warm.

On CUDA, with capture="auto", a phase (forward, backward, double backward, exchange, Adam, average,
statistics) is called WARM_UPS times on one side stream, as ordinary steps of the run: lazy handles
and workspaces come to belong to that stream, and no step is lost. Its next call is captured there,
and that graph is replayed from then on: one launch by the host. In the second call a guard looks
for what a graph can't hold (`fastgan.training.step.capture_guard`) and refuses it by the module's
name.

Only persistent tensors cross a graph's border: weights, flat buffers, device scalars (lr, EMA
weight, ADA's p, the penalties' scale), statistics, and a batch of the first call's shape into which
each batch is copied. So all graphs share one pool of memory. What a graph froze on the host (the
configuration, Adam's β and ε, train or eval mode) is compared before every replay; where it
changed, the phases are warmed up and captured anew. A parameter or gradient that left its flat
buffer, and a batch of another shape, are refused by name.

Unproven until a GPU has run `make gpu-check`: no machine of this project's has had one. What is
checked without one: the host's part below, with graphs that only remember what to call
(tests/training/test_capture.py), and that no phase of a shipped recipe does what a graph can't hold
(`make capture-lint`).
"""

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from fastgan.training.step.capture_guard import CaptureError, capture_guard
from fastgan.training.step.state import Batch, StepState

__all__ = ["WARM_UPS", "CaptureError", "CudaGraphs", "Graphs", "PhaseRunner", "phases_note"]

WARM_UPS = 3
_GUARDED = 1  # the second call: a first one may still build caches from host values

PhaseFn = Callable[..., None]
_log = logging.getLogger("fastgan")


class Graphs(Protocol):
    """What `PhaseRunner` needs of a device that can capture."""

    def warm_up(self, call: Callable[[], None]) -> None:
        """Runs `call` where it will be captured."""

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        """Records `call` without its effects; returns what replays it."""


class CudaGraphs:
    """One side stream and one pool of memory for all graphs of a device."""

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, call: Callable[[], None]) -> None:
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            call()
        current.wait_stream(self._stream)

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
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
    """`PhaseRunner.note` of such a run, before there is one."""
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
    return f"each phase is one CUDA graph after {WARM_UPS} calls"


@dataclass
class _Phase:
    calls: int = 0
    replay: Callable[[], None] | None = None


class PhaseRunner:
    """Runs the phases of one state.

    note: one line that says how, and if eagerly, why.
    """

    def __init__(self, mode: str, device: torch.device, graphs: Graphs | None = None):
        """`graphs`: instead of the device's own, for tests."""
        reason = _why_eager(mode, device, graphs)
        self.note = _note(reason)
        self._graphs = None
        if reason is None:
            self._graphs = CudaGraphs(device) if graphs is None else graphs
        self._phases: dict[tuple[PhaseFn, bool], _Phase] = {}
        self._batch: Batch | None = None
        self._frozen: tuple[Any, ...] | None = None
        _log.info("%s", self.note)

    @property
    def is_capturing(self) -> bool:
        return self._graphs is not None

    def take(self, state: StepState, batch: Batch) -> Batch:
        """The batch that this step's phases are to be given: the persistent one, filled.

        ValueError where it does not fit the first one; RuntimeError where a parameter left its
        flat buffer.
        """
        if self._graphs is None:
            return batch
        for optimizer in (state.g_optimizer, state.d_optimizer):
            optimizer.flat.attach()
            optimizer.check()
        frozen = _frozen_values(state)
        if frozen != self._frozen:
            self._phases.clear()
            self._frozen = frozen
        if self._batch is None:
            c = None if batch.c is None else torch.empty_like(batch.c, device=state.device)
            self._batch = Batch(x=torch.empty_like(batch.x, device=state.device), c=c)
        for name, static, new in (
            ("x", self._batch.x, batch.x),
            ("c", self._batch.c, batch.c),
        ):
            _write(name, static, new)
        return self._batch

    def __call__(self, state: StepState, phase: PhaseFn, batch: Batch, *, averages: bool) -> None:
        """One phase of a step; averages: it moves the average, too."""
        call = partial(phase, state, batch, averages=True) if averages else partial(
            phase, state, batch
        )  # fmt: skip
        if self._graphs is None:
            call()
            return
        entry = self._phases.setdefault((phase, averages), _Phase())
        entry.calls += 1
        if entry.replay is None and entry.calls > WARM_UPS:
            with capture_guard(state, phase.__name__, is_strict=False):
                entry.replay = self._graphs.capture(call)
        if entry.replay is not None:
            entry.replay()
            return
        if entry.calls - 1 == _GUARDED:
            with capture_guard(state, phase.__name__, is_strict=True):
                self._graphs.warm_up(call)
        else:
            self._graphs.warm_up(call)


def _frozen_values(state: StepState) -> tuple[Any, ...]:
    """What a phase reads on the host: a graph keeps it as it was."""
    values: list[Any] = [id(state.config), id(state.exchange), id(state.augment), state.objective]
    for optimizer in (state.g_optimizer, state.d_optimizer):
        group = optimizer.param_groups[0]
        values += [group["betas"], group["eps"], id(group["lr"])]
    for network in (state.G, state.D):
        values += [id(network), tuple(module.training for module in network.modules())]
    return tuple(values)


def _write(name: str, static: Tensor | None, new: Tensor | None) -> None:
    if static is None and new is None:
        return
    if static is None or new is None or static.shape != new.shape or static.dtype != new.dtype:
        shown = ["none" if t is None else f"{tuple(t.shape)} {t.dtype}" for t in (static, new)]
        raise ValueError(
            f"train_step: {name} of the batch must stay {shown[0]}, which the CUDA graphs were "
            f"captured with, got {shown[1]}; drop an incomplete last batch, or set capture='off'"
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
