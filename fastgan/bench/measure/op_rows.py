# SPDX-License-Identifier: Apache-2.0
"""Check every variant of an op, then measure: no number from a wrong result."""

import dataclasses
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from fastgan.bench.measure.correctness import check, expected, reference
from fastgan.bench.measure.graph_timer import Bound, bound, cache_bytes, measure_graphs, num_sets
from fastgan.bench.measure.timer import Protocol, Samples, measure
from fastgan.bench.op_case import MODES, Function, OpCase, Tensors, evaluate, make_tensors, on_grid
from fastgan.ops import backends

BASE = "native"
FLOOR = "copy"
NO_DOUBLE = "torch.compile cannot: AOTAutograd has no double backward"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case in one mode: `samples`, or the words of the check that `failure` holds.

    `samples` holds the variants and, under FLOOR, a copy of x, whose time times `floor_factor` is
    the time that moving `floor_bytes` takes. `absent` says why a variant was not measured.
    `has_kernel`: whether `native` is a native kernel, or fastgan's formulas in plain PyTorch, where
    the op has no kernel on the device by design.

    On CUDA the samples are those of graphs over `sets` sets of tensors, `launched` has those of the
    same calls launched by the host, and `bound` says what bounds native. On the CPU sets is 1.
    """

    case: OpCase
    mode: str
    samples: Samples | None
    failure: str | None
    floor_factor: float
    absent: Mapping[str, str] = field(default_factory=dict)
    has_kernel: bool = True
    sets: int = 1
    launched: Samples | None = None
    bound: Bound | None = None


def default_variants(case: OpCase, *, is_compiled: bool) -> dict[str, Function]:
    """native, reference and, if `is_compiled`, torch.compile of the plain torch function."""
    definition = case.plain if case.is_as_written else reference(case)
    variants = {BASE: case.run, "reference": definition}
    if is_compiled:
        torch.compiler.reset()  # the recompile limit counts per function, not per case
        variants["compile"] = torch.compile(case.plain, fullgraph=True, dynamic=False)
    return variants


def modes_of(case: OpCase) -> list[str]:
    """The modes in which the case moves anything: an op without a derivative has one."""
    return [mode for mode in MODES if case.floor_elements[mode]]


def on_device(case: OpCase, device: str) -> OpCase:
    """The case with the tensors that its functions hold (a filter, say) moved to `device`."""
    if device == "cpu":
        return case
    return dataclasses.replace(case, run=_moved(case.run, device), plain=_moved(case.plain, device))


def tensors_on(case: OpCase, device: str) -> Tensors:
    """`make_tensors` of the CPU; elsewhere the like, drawn there, because large ones take long."""
    if device == "cpu":
        return make_tensors(case)
    generator = torch.Generator(device).manual_seed(0)

    def normal(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        x = torch.randn(shape, generator=generator, device=device)
        x = on_grid(x, case).to(dtype)
        is_nhwc = case.is_channels_last and x.dim() == 4
        return x.contiguous(memory_format=torch.channels_last) if is_nhwc else x

    inputs = tuple(normal(shape, case.dtype).requires_grad_() for shape in case.shapes)
    with torch.no_grad():
        y = case.plain(*inputs)
    dy = normal(tuple(y.shape), y.dtype).requires_grad_()
    return Tensors(inputs, dy, normal(case.shapes[0], case.dtype))


def _moved(value: Any, device: str) -> Any:
    """`value` on `device`; of a function, a copy whose closure and defaults are there."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(_moved(item, device) for item in value)
    if isinstance(value, types.FunctionType) and (value.__closure__ or value.__defaults__):
        cells = [types.CellType(_moved(c.cell_contents, device)) for c in value.__closure__ or ()]
        defaults = _moved(value.__defaults__, device)
        copy = types.FunctionType(
            value.__code__, value.__globals__, value.__name__, defaults, tuple(cells) or None
        )
        copy.__kwdefaults__ = value.__kwdefaults__
        return copy
    return value


def run_case(case: OpCase, protocol: Protocol, variants: Mapping[str, Function]) -> Iterator[Row]:
    """Checks, then measures every variant of a case.

    Args:
        case: of the op.
        protocol: device, threads, rounds and cache.
        variants: name → function, BASE among them; on another device than the CPU those of
            `on_device(case, ...)`.

    Yields:
        One Row for each mode that the case has.
    """
    for mode in modes_of(case):
        absent = {"compile": NO_DOUBLE} if mode == "double" and "compile" in variants else {}
        present = {name: run for name, run in variants.items() if name not in absent}
        yield _run_mode(case, mode, protocol, present, absent)


def find_wrong(
    case: OpCase, mode: str, tensors: Tensors, variants: Mapping[str, Function]
) -> dict[str, str]:
    """The variants whose outputs or gradients are not the float64 reference's, and how."""
    want = expected(case, mode, tensors)
    checks = {name: check(evaluate(mode, run, tensors), want) for name, run in variants.items()}
    return {name: why for name, why in checks.items() if why}


def _run_mode(case, mode, protocol, variants, absent) -> Row:
    tensors = tensors_on(case, protocol.device)
    wrong = find_wrong(case, mode, tensors, variants)
    failures = [f"{name}: {why}" for name, why in wrong.items()]
    x = tensors.inputs[0].detach()
    factor = case.floor_bytes(mode) / (2 * x.numel() * x.element_size())
    timed: dict[str, Any] = {"samples": None}
    if not failures and protocol.device == "cuda":
        timed = measure_on_gpu(case, mode, tensors, variants, protocol)
    elif not failures:
        target = torch.empty_like(x)
        calls = {name: _call(mode, run, tensors) for name, run in variants.items()}
        calls[FLOOR] = lambda: target.copy_(x)
        timed = {"samples": measure(calls, protocol)}
    failure = "; ".join(failures) or None
    return Row(
        case=case,
        mode=mode,
        failure=failure,
        floor_factor=factor,
        absent=absent,
        has_kernel=_has_kernel(case.op, protocol.device),
        **timed,
    )


def measure_on_gpu(
    case: OpCase,
    mode: str,
    tensors: Tensors,
    variants: Mapping[str, Function],
    protocol: Protocol,
    *,
    instructing: float | None = None,
) -> dict[str, Any]:
    """Times variants and, under FLOOR, a copy of x, in graphs over sets of tensors.

    `instructing`: seconds that native's instructions take, where they were counted.

    Returns:
        The fields of a Row: samples, launched, sets and bound (None without BASE).
    """
    sets = num_sets(case.floor_bytes(mode), cache_bytes(protocol.device))
    rotated = [tensors, *(_copied(tensors) for _ in range(sets - 1))]
    calls = {name: [_call(mode, run, t) for t in rotated] for name, run in variants.items()}
    calls[FLOOR] = [t.inputs[0].detach().clone for t in rotated]
    found = measure_graphs(calls, protocol)
    bounded = None
    if BASE in variants:
        x = tensors.inputs[0]
        copied = 2 * x.numel() * x.element_size()
        bounded = bound(
            found.graphs.median(BASE),
            launched=found.launched.median(BASE),
            moving=found.graphs.median(FLOOR) * case.gpu_bytes(mode) / copied,
            instructing=instructing,
        )
    return {
        "samples": found.graphs, "launched": found.launched, "sets": sets, "bound": bounded,
    }  # fmt: skip


def _copied(tensors: Tensors) -> Tensors:
    inputs = tuple(x.detach().clone().requires_grad_() for x in tensors.inputs)
    return Tensors(inputs, tensors.dy.detach().clone().requires_grad_(), tensors.ddx.clone())


def _has_kernel(op: str, device: str) -> bool:
    """A case's op may be called without the underscore of an op that writes to its arguments."""
    every = backends()
    found = every.get(op, every.get(f"{op}_"))
    return found is not None and found[device]["active"] == device


def _call(mode, run, tensors):
    return lambda: evaluate(mode, run, tensors)
