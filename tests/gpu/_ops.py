# SPDX-License-Identifier: Apache-2.0
"""Measurements of the ops on a GPU: each variant checked first, then all of a row interleaved.

Large cases: native, eager reference, torch.compile and a copy of x, each as a CUDA graph whose
calls rotate over more memory than the L2 holds (`fastgan.bench.measure.graph_timer`), and launched
by the host. Small cases: native, one call after another on the same tensors, as launched by the
host and as replays of a CUDA graph, so that their difference is the launch.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

from fastgan.bench.measure.op_rows import (
    BASE,
    FLOOR,
    NO_DOUBLE,
    default_variants,
    find_wrong,
    measure_on_gpu,
    modes_of,
    on_device,
    tensors_on,
)
from fastgan.bench.measure.timer import Protocol, Samples, measure
from fastgan.bench.op_case import Function, OpCase, Tensors, evaluate
from fastgan.ops import backends
from fastgan.training.step.capture import WARM_UPS, CudaGraphs
from tests.cuda_report import counts
from tests.gpu._cases import grid, small_cases
from tests.gpu._child_processes import serve

SMALL = "small: "  # prefix of the items that compare launches
GRAPH_CALLS = 20  # per graph, so that one replay's launch is spread over them
LEFT_OUT = "left out, because compiling takes long"


def items(is_quick: bool) -> list[str]:
    """The small cases, then the large ones."""
    return [f"{SMALL}{key}" for key in small_cases()] + list(grid(is_quick=is_quick))


def work(item: str, options: argparse.Namespace) -> dict[str, Any]:
    """One record per item: rows, one per mode; `failure` names every wrong variant."""
    torch.backends.cudnn.allow_tf32 = False  # a reference in float32 has float32's digits
    torch.backends.cuda.matmul.allow_tf32 = False
    is_small = item.startswith(SMALL)
    if is_small:
        case = small_cases()[item.removeprefix(SMALL)]
    else:
        cases = grid(is_quick=options.quick)
        case = cases[item]
        first = next(c for c in cases.values() if c.op == case.op)
    case = on_device(case, options.device)
    if lack := missing_kernel(case.op, options.device):
        return {"failure": lack, "rows": []}
    try:
        tensors = tensors_on(case, options.device)
        evaluate("forward", case.run, tensors)
    except (TypeError, ValueError) as error:
        return {"refused": f"the op does not take this: {error}", "rows": []}
    if is_small:
        rows = [launch_row(case, mode, tensors, options) for mode in modes_of(case)[:2]]
    else:
        is_compiled = options.compiles and (not options.quick or cases[item] is first)
        variants = default_variants(case, is_compiled=is_compiled)
        rows = [
            row(case, mode, tensors, variants, protocol(options), is_compiled)
            for mode in modes_of(case)
        ]
    wrong = [f"{r['mode']}: {n} {why}" for r in rows for n, why in r["wrong"].items()]
    return {"failure": "; ".join(wrong) or None, "rows": rows}


def missing_kernel(op: str, device: str) -> str | None:
    """Why the numbers of `op` would not be those of a CUDA kernel."""
    found = backends().get(op, {}).get(device)
    if device != "cuda" or found is None or found["active"] == "cuda":
        return None
    return f"{op} has no CUDA kernel: {found['why']}"


def protocol(options: argparse.Namespace) -> Protocol:
    rounds = 5 if options.quick else 9
    return Protocol(device=options.device, rounds=rounds, sample_seconds=0.005)


def row(
    case: OpCase,
    mode: str,
    tensors: Tensors,
    variants: Mapping[str, Function],
    how: Protocol,
    is_compiled: bool,
) -> dict[str, Any]:
    """Seconds of every variant that is right, and of a copy of x; words for the others."""
    absent = {} if is_compiled else {"compile": LEFT_OUT}
    if is_compiled and mode == "double":
        absent["compile"] = NO_DOUBLE
    present = {name: run for name, run in variants.items() if name not in absent}
    wrong = find_wrong(case, mode, tensors, present)
    right = {name: run for name, run in present.items() if name not in wrong}
    instructing = instruction_seconds(case, mode, tensors.dy.numel(), how.device)
    found = measure_on_gpu(case, mode, tensors, right, how, instructing=instructing)
    samples, launched = found["samples"], found["launched"]
    x = tensors.inputs[0]
    copied = 2 * x.numel() * x.element_size()
    return {
        **_label(case, mode),
        "cache": "rotated",
        "sets": found["sets"],
        "bound": None if found["bound"] is None else str(found["bound"]),
        "launched": {name: launched.median(name) for name in launched.seconds},
        "wrong": wrong,
        "absent": absent,
        "seconds": {name: samples.median(name) for name in samples.seconds},
        "ratios_to_native": _ratios(samples),
        "rounds": dict(samples.seconds),
        "copied_bytes": copied,
    }


def instruction_seconds(case: OpCase, mode: str, outputs: int, device: str) -> float | None:
    """Seconds that the instructions of `make cuda-report` take; None where it has no count of this.

    The rate is that of an H200, times the device's share of its multiprocessors.
    """
    dtype = {torch.float32: "float", torch.bfloat16: "bfloat16"}.get(case.dtype)
    count = counts.read().get(f"{case.op} {mode} {dtype}")
    if count is None or case.is_channels_last:
        return None
    share = 1.0
    if device != "cpu":
        share = torch.cuda.get_device_properties(device).multi_processor_count / 132
    return count * outputs / (counts.INSTRUCTIONS_PER_SECOND * share)


def launch_row(
    case: OpCase, mode: str, tensors: Tensors, options: argparse.Namespace
) -> dict[str, Any]:
    """Native, called by the host and replayed by a CUDA graph of GRAPH_CALLS calls; both warm."""
    wrong = find_wrong(case, mode, tensors, {BASE: case.run})
    call = _call(mode, case.run, tensors)
    calls = {} if wrong else {BASE: call, "graph": graph_of(call, GRAPH_CALLS, options.device)}
    samples = measure(calls, protocol(options)) if calls else Samples({})
    seconds = {name: samples.median(name) for name in samples.seconds}
    if "graph" in seconds:
        seconds["graph"] /= GRAPH_CALLS
    return {**_label(case, mode), "cache": "warm", "wrong": wrong, "seconds": seconds}


def graph_of(call: Callable[[], object], calls: int, device: str) -> Callable[[], object]:
    """`calls` calls as one CUDA graph's replay; on the CPU, as they are."""

    def repeat() -> None:
        for _ in range(calls):
            call()

    if device != "cuda":
        return repeat
    graphs = CudaGraphs(torch.device(device))
    for _ in range(WARM_UPS):
        graphs.warm_up(call)
    return graphs.capture(repeat)


def _call(mode: str, run: Function, tensors: Tensors) -> Callable[[], object]:
    return lambda: evaluate(mode, run, tensors)


def _label(case: OpCase, mode: str) -> dict[str, Any]:
    return {
        "op": case.op,
        "case": case.name,
        "dtype": str(case.dtype).removeprefix("torch."),
        "layout": case.layout,
        "mode": mode,
        "floor_bytes": case.floor_bytes(mode),
        "moved_bytes": case.gpu_bytes(mode),
        "launches": case.gpu_launches(mode),
    }


def _ratios(samples: Samples) -> dict[str, float]:
    """Median over the rounds of time / native's time."""
    if BASE not in samples.seconds:
        return {}
    others = [name for name in samples.seconds if name not in (BASE, FLOOR)]
    return {n: sorted(r)[len(r) // 2] for n in others if (r := samples.ratios(n, BASE))}


if __name__ == "__main__":
    command = argparse.ArgumentParser(prog="python -m tests.gpu._ops")
    command.add_argument("--no-compile", dest="compiles", action="store_false")
    sys.exit(serve(work, command))
