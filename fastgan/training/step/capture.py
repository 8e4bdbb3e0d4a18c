# SPDX-License-Identifier: Apache-2.0
"""How the phases of a step are run: eagerly, or each as one CUDA graph after a warm-up.

On CUDA, with capture="auto", a phase (forward, backward, double backward, all_reduce, Adam, EMA,
statistics) is called at least WARM_UPS times on one side stream, as ordinary steps of the run:
lazily made handles and workspaces then belong to that stream, no step is lost, and no number of the
training depends on it. Once all phases of the run are warm, lazy penalties too, the next call of
each captures it there, and from then on that graph is replayed: one launch by the host. The eager
calls' memory is given back to the device before the first capture, so that the largest phase is
never held twice, once by the eager call of a lazy penalty and once by the graphs' pool. A penalty
that is not warm after LONGEST_WAIT steps is not waited for. The second call of a phase runs under
`fastgan.training.step.capture_guard`, which raises an error that names the module where a phase
does what a graph can't contain.

A graph reads and writes persistent tensors only: weights, flat buffers, device scalars (lr, EMA
weight, ADA's p, the penalties' scale), statistics, and a batch of the first call's shape into which
each batch is copied. So all graphs share one memory pool. The values that a graph keeps from the
host (`fastgan.training.step.host_values`: the configuration, the optimisers' numbers,
requires_grad, the modules' numbers) are compared before every step; where one of them changed, the
log names it, and the phases are warmed up and captured again. A number of a module that a phase
itself changes with every call, a parameter or gradient that is no longer in its flat buffer, and a
batch of another shape raise an error that names it.

Whoever ends a process group that the graphs use calls `PhaseRunner.release` before:
from 2.26 on NCCL waits in ncclCommDestroy and ncclCommAbort until every CUDA graph that captured
one of the communicator's collectives is destroyed (pytorch#115388, vllm#39846). Garbage collection
may come too late for that, and an exception's traceback keeps the frames with the graphs alive.

Validation: an earlier version of this code has run on one H200 (benchmarks/results/gpu). The host's
part below is tested without a GPU, with graphs that record operators and run them again
(tests/training/step/test_capture.py), and `make capture-lint` checks that no phase of a shipped
recipe does what a graph can't contain.
"""

import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from fastgan._trees import map_tensors, tensors_of
from fastgan.training.step.batch import Batch
from fastgan.training.step.capture_guard import CaptureError, capture_guard
from fastgan.training.step.host_values import HostValues, changes, module_values

__all__ = [
    "LONGEST_WAIT",
    "WARM_UPS",
    "CaptureError",
    "CudaGraphs",
    "Graphs",
    "PhaseRunner",
    "phases_note",
]

WARM_UPS = 3
LONGEST_WAIT = 64  # steps; a penalty in every 16th step is warm after 33
LOGGED_CHANGES = 3  # of one value
_GUARDED = 1  # the second call: a first one may still build caches from host values

_Kind = tuple[str, Hashable]  # (name, variant) of a phase

_log = logging.getLogger("fastgan")


class Graphs(Protocol):
    """What `PhaseRunner` needs of a device that can capture."""

    def warm_up(self, call: Callable[[], None]) -> None:
        """Runs `call` on the stream that will capture it."""

    def capture(self, call: Callable[[], None]) -> Callable[[], None]:
        """Records `call` without running it; returns a function that replays it."""

    def release(self) -> None:
        """Destroys all that `capture` recorded, whoever still refers to it, without waiting for
        the device. May be called again and again; `capture` may be called after it."""


class CudaGraphs:
    """CUDA graphs of one device, on one side stream and in one memory pool.

    Example:
        graphs = CudaGraphs(torch.device("cuda"))
        graphs.warm_up(call)
        replay = graphs.capture(call)
        replay()
        graphs.release()
    """

    def __init__(self, device: torch.device):
        self._stream = torch.cuda.Stream(device)
        self._graphs: list[torch.cuda.CUDAGraph] = []
        self._pool: Any = None  # the allocator forgets a pool with the last graph that uses it

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
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        self._graphs.append(graph)  # so that `release` finds one whose capture failed, too
        # torch.cuda.graph empties the allocator's cache: the eager calls' memory is free for the
        # pool. Threads that fill pinned batches meanwhile allocate: only this thread's calls count.
        with (
            _no_garbage_collection(),
            torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ),
        ):
            call()
        return graph.replay

    def release(self) -> None:
        """Destroys all graphs and forgets their pool; the next capture makes another one.

        A graph that runs on the device is not ended: the driver destroys it when it has ended.
        """
        while self._graphs:
            self._graphs.pop().reset()
        self._pool = None


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
    return f"each phase runs as one CUDA graph, once all were called {WARM_UPS} times"


@dataclass
class _Phase:
    calls: int = 0
    replay: Callable[[], None] | None = None
    values: HostValues | None = None  # of the modules, after a call


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
        self._phases: dict[_Kind, _Phase] = {}
        self._kinds: Collection[_Kind] = ()
        self._steps = 0  # since the graphs were released
        self._batch: Batch | None = None
        self._values: HostValues | None = None
        self._ran_in_python = False
        self._changes: Counter[str] = Counter()
        _log.info("%s", self.note)

    @property
    def is_capturing(self) -> bool:
        """Whether phases become graphs."""
        return self._graphs is not None

    @property
    def is_captured(self) -> bool:
        """Whether every phase of the run is a graph."""
        phases = (self._phases.get(kind) for kind in self._kinds)
        return bool(self._kinds) and all(p is not None and p.replay is not None for p in phases)

    def release(self) -> None:
        """Destroys all graphs at once, whoever still refers to them, and without waiting.

        May be called again and again, and after an error. The next step warms up and captures anew.
        Call it before a process group ends whose collectives were captured.
        """
        self._phases.clear()
        self._steps = 0
        if self._graphs is not None:
            self._graphs.release()

    def begin_step(self, batch: Batch, values: HostValues, kinds: Collection[_Kind] = ()) -> Batch:
        """The batch that this step's phases must be given: the persistent one, filled.

        Args:
            batch: of the first call's shapes and dtypes.
            values: all that the phases read on the host. Graphs that were captured with other
                values are destroyed, and the log names what changed.
            kinds: (name, variant) of every phase that the run calls: none is captured before all
                of them are warm.

        Raises:
            ValueError: when the batch differs from the first one in shape or dtype.
        """
        if self._graphs is None:
            return batch
        if self._values is not None and values != self._values:
            found = list(changes(self._values, values))
            if found:
                self._log_changes(found)
                self.release()
        self._values, self._kinds = values, kinds
        self._steps += 1
        self._ran_in_python = False
        if self._batch is None:
            empty = partial(torch.empty_like, device=self._device)
            self._batch = Batch(x=map_tensors(empty, batch.x), c=map_tensors(empty, batch.c))
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
        if phase.replay is None and phase.calls > WARM_UPS and self._may_capture():
            with capture_guard(name, networks, self._device, is_strict=False):
                phase.replay = self._graphs.capture(call)
            self._ran_in_python = True
        if phase.replay is not None:
            phase.replay()
            return
        self._ran_in_python = True
        if phase.calls - 1 == _GUARDED:
            with capture_guard(name, networks, self._device, is_strict=True):
                self._graphs.warm_up(call)
            phase.values = module_values(networks)
            return
        self._graphs.warm_up(call)
        if phase.values is not None:
            _require_equal(name, phase.values, module_values(networks))
            phase.values = None

    def end_step(self, values: Callable[[], HostValues]) -> None:
        """Notes the host's values after a step whose phases ran in Python, and may have changed
        them: what differs at the next `begin_step` was changed between the steps.

        Args:
            values: gives all that the phases read on the host.
        """
        if self._ran_in_python:
            self._values = {**(self._values or {}), **values()}

    def _may_capture(self) -> bool:
        if self._steps > LONGEST_WAIT:
            return True
        phases = (self._phases.get(kind) for kind in self._kinds)
        return all(phase is not None and phase.calls >= WARM_UPS for phase in phases)

    def _log_changes(self, found: list[tuple[str, str]]) -> None:
        self._changes.update(name for name, _ in found)
        told = [words for name, words in found if self._changes[name] <= LOGGED_CHANGES]
        last = [name for name, _ in found if self._changes[name] == LOGGED_CHANGES]
        if told:
            _log.info(
                "%s: the phases are warmed up and captured as CUDA graphs again", "; ".join(told)
            )
        for name in last:
            _log.warning(
                "%s changed %d times; further changes are not logged. The phases run eagerly while "
                "it changes in every step: make it a tensor on the device, and write into that",
                name, LOGGED_CHANGES,
            )  # fmt: skip


def _require_equal(name: str, before: HostValues, after: HostValues) -> None:
    """CaptureError where the modules' numbers differ after two calls of one phase."""
    found = [words for _, words in changes(before, after)]
    if found:
        raise CaptureError(
            f"capture of {name}: {'; '.join(found[:4])} from one call to the next, by code that a "
            "CUDA graph would not run again; keep such a number in a buffer on the device, or set "
            "capture='off'"
        )


def _write(name: str, static: Any, new: Any) -> None:
    """Copies a tree of tensors into the one that the graphs read."""
    (targets, spec), (values, other) = tree_flatten(static), tree_flatten(new)
    if spec != other or any(map(_differ, targets, values)):
        shown = [_shown(tree) for tree in (static, new)]
        raise ValueError(
            f"train_step: {name} of the batch must stay {shown[0]}, with which the CUDA graphs "
            f"were captured, got {shown[1]}; drop an incomplete last batch, or set capture='off'"
        )
    for target, value in zip(targets, values, strict=True):
        if target is not None:
            target.copy_(value, non_blocking=True)


def _differ(static: Tensor | None, new: Tensor | None) -> bool:
    if static is None or new is None:
        return static is not new
    return static.shape != new.shape or static.dtype != new.dtype


def _shown(tree: Any) -> str:
    shown = [f"{tuple(t.shape)} {t.dtype}" for t in tensors_of(tree)]
    return ", ".join(shown) or "none"


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
