# SPDX-License-Identifier: Apache-2.0
"""The capture lint: proof, without a GPU, that a phase of training could be a CUDA graph.

A graph replays kernels with the arguments, addresses and order that they had when it was captured.
`lint_phase` runs a phase once to warm up and three times under fake 'cuda' tensors, the host's work
between the runs included, and reports

    host sync            a value or a shape that only the device knows is needed on the host
    host copy            memory of the host is copied to the device, or the other way
    cpu tensor           an op on, or an argument of, the CPU
    host random numbers  random or numpy.random drew, or torch was seeded
    explicit generator   a torch.Generator other than the device's own
    foreign tensor       reads memory that neither the phase made nor the state holds
    replaced tensor      a state tensor is another one afterwards, or a new one is kept
    host value changed   the phase changed a Python value that the state holds
    frozen value         an op's number, shape, dtype or memory differs between the runs
    frozen control flow  other ops ran
    not runnable         the phase raises on fake 'cuda' tensors

Without findings the three runs were one list of ops, arguments and addresses. Not seen: what a
kernel does itself (a sync in cuDNN or cuBLAS, their lazy initialisation), streams and events,
memory limits, and everything numerical. fastgan's ops are seen by name, through their fake
kernels. Backward passes run in the caller's thread. Elsewhere autograd has one thread for each
device, and takes nodes that could run next by numbers that each thread counts by itself: those of
a gradient's graph count in the device's thread, those of a forward pass in the caller's, and which
are higher changes when one phase runs over and over. Either order is right, and a graph keeps the
one that it was captured with. An optimiser that is left to choose between foreach and single
tensors takes the latter on fake tensors.

torch's fused Adam has no rule for fake tensors, and needs none: it writes in place and returns
nothing. `fake_device` gives it that rule, so that the shipped optimiser is what is linted.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from unittest import mock

import torch
from held import Held, held_by, tensor_changes, value_changes
from op_trace import Finding, OpTrace, PhaseStopped, TracedOp
from source_lines import raised_line, source_line
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Finding", "PhaseReport", "ValuesAreOne", "construction", "fake_device", "lint_phase"]

RUNS = 3
_SHOWN = 3
_RULES = torch.library.Library("aten", "IMPL", "Meta")
_FUSED = ("_fused_adam_", "_fused_adamw_")


@dataclass(frozen=True)
class PhaseReport:
    """ops: of one run; fastgan_ops: those of them that are fastgan's own."""

    ops: int
    fastgan_ops: int
    findings: tuple[Finding, ...]


@contextlib.contextmanager
def fake_device() -> Iterator[None]:
    """Tensors made inside are fake; 'cuda' ones compute shapes and no values."""
    for name in _FUSED:
        for overload in ("default", "tensor_lr"):
            op = getattr(getattr(torch.ops.aten, name), overload)
            if not torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), "Meta"):
                _RULES.impl(op, lambda *args, **kwargs: None)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


@contextlib.contextmanager
def construction() -> Iterator[None]:
    """Within `fake_device`: code that builds networks and optimisers runs as it is.

    Constructors may look at values (is the filter's sum 0? is lr negative?): they see 1. Moving a
    module replaces its tensors, and copying one copies them, which fake tensors do not do by
    themselves. Outside a phase none of this concerns a capture.
    """
    with (
        mock.patch.object(nn.Module, "_apply", _apply_by_replacement),
        mock.patch.object(FakeTensor, "__deepcopy__", _deepcopy, create=True),
        ValuesAreOne(),
    ):
        yield


def lint_phase(
    phase: Callable[[], None],
    holders: Mapping[str, object],
    between: Callable[[int], None] = lambda run: None,
) -> PhaseReport:
    """Runs `phase` under `fake_device`, which must be active.

    holders: everything that lives from replay to replay, by name: the state, the input batch.
    between: the host's work before run 0 (the warm-up), 1, 2 and 3.
    """
    between(0)
    with ValuesAreOne():  # a warm-up may wait for the device
        _one_run(phase, held_by(holders), holders)
    findings: list[Finding] = []
    traces: list[list[TracedOp]] = []
    captured: Held | None = None
    for run in range(1, RUNS + 1):
        between(run)
        before = held_by(holders)
        captured = captured or before
        moved = tensor_changes(captured, before, f"when run {run} begins")
        trace, found = _one_run(phase, before, holders)
        traces.append(trace.ops)
        findings += [*found, *(Finding("replaced tensor", path, what) for path, what in moved)]
        if any(finding.kind in ("host sync", "not runnable") for finding in found):
            break
    for number, trace in enumerate(traces[1:], 2):
        findings += _differences(traces[0], trace, number)
    ops = traces[0]
    own = sum(op.name.startswith("fastgan.") for op in ops)
    return PhaseReport(len(ops), own, tuple(_once(findings)))


def _once(findings: list[Finding]) -> Iterator[Finding]:
    """Without repetitions; a tensor that the phase has replaced is another one in the next run."""
    replaced = set()
    for finding in dict.fromkeys(findings):
        if finding.kind != "replaced tensor" or finding.subject not in replaced:
            yield finding
        replaced.add(finding.subject)


def _one_run(
    phase: Callable[[], None], before: Held, holders: Mapping[str, object]
) -> tuple[OpTrace, list[Finding]]:
    trace = OpTrace(before.names(), before.gradients())
    stopped: list[Finding] = []
    one_thread = torch.autograd.set_multithreading_enabled(False)
    with one_thread, trace, _synchronize_stops(trace):
        try:
            phase()
        except PhaseStopped:
            pass
        # fake tensors' refusals (two devices, no rule) and those of torch.cuda in a CPU build
        except (RuntimeError, AssertionError) as error:
            kind, message = type(error).__name__, str(error).partition("\n")[0]
            stopped.append(Finding("not runnable", kind, message, raised_line(error)))
        trace.check_host("")
    after = held_by(holders)
    moved: list[Finding] = []
    for path, message in tensor_changes(before, after, "after the phase"):
        maker, source = trace.maker(after.storages[path]) if path in after.storages else ("", "")
        how = f"{message} (made by {maker})" if maker else message
        moved.append(Finding("replaced tensor", path, how, source))
    moved += [Finding("host value changed", *change) for change in value_changes(before, after)]
    return trace, [*trace.findings, *stopped, *moved]


@contextlib.contextmanager
def _synchronize_stops(trace: OpTrace) -> Iterator[None]:
    def stop(*args: object) -> None:
        trace.stop("torch.cuda.synchronize", "waits for the device", source_line())

    with (
        mock.patch.object(torch.cuda, "synchronize", stop),
        mock.patch.object(torch.accelerator, "synchronize", stop),
    ):
        yield


def _differences(first: list[TracedOp], other: list[TracedOp], number: int) -> Iterator[Finding]:
    """Up to _SHOWN differences: the later ones mostly follow from the first."""
    shown = 0
    for a, b in zip(first, other, strict=False):
        if a.name != b.name:
            message = f"runs in run 1, and {b.name} in its place in run {number}, at {b.source}"
            yield Finding("frozen control flow", a.name, message, a.source)
            return
        pairs = [*zip(a.scalars, b.scalars, strict=False), *zip(a.tensors, b.tensors, strict=False)]
        changed = [f"{_shown(x)} → {_shown(y)}" for x, y in pairs if x != y]
        if (a.scalars, a.tensors) != (b.scalars, b.tensors):
            what = "; ".join(changed[:3]) or "number of arguments"
            yield Finding("frozen value", a.name, f"has {what} in run {number}", a.source)
            shown += 1
            if shown == _SHOWN:
                return
    if len(first) != len(other):
        extra = max(first, other, key=len)[min(len(first), len(other))]
        message = f"runs on top of one run's ops: {len(first)} in run 1, {len(other)} in {number}"
        yield Finding("frozen control flow", extra.name, message, extra.source)


def _shown(argument: str | tuple) -> str:
    if isinstance(argument, str):
        return argument
    shape, stride, dtype, device, owner = argument
    return f"{owner} {list(shape)} with strides {list(stride)}, {dtype} on {device}"


class ValuesAreOne(TorchDispatchMode):
    """Code that asks the device for a value sees 1."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0
        return func(*args, **(kwargs or {}))


def _apply_by_replacement(
    module: nn.Module, convert: Callable[[Tensor], Tensor], recurse: bool = True
) -> nn.Module:
    """nn.Module._apply, which would swap the tensors' contents: fake ones cannot be swapped."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, old in tensors.items():
                new = old if old is None else convert(old)
                if new is not old:
                    is_parameter = isinstance(old, nn.Parameter)
                    tensors[name] = nn.Parameter(new, old.requires_grad) if is_parameter else new
    return module


def _deepcopy(tensor: Tensor, memo: dict[int, object]) -> Tensor:
    if id(tensor) not in memo:
        copy = tensor.detach().clone()
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(copy, tensor.requires_grad) if is_parameter else copy
    return memo[id(tensor)]
