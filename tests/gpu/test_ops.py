# SPDX-License-Identifier: Apache-2.0
"""The GPU measurements on the CPU: cases, checks, rows and tables; the GPU's clock by a fake."""

import argparse
import dataclasses
import functools
import json
import math

import pytest
import torch

from fastgan import _build
from fastgan.bench.case_files import load_cases
from fastgan.bench.measure import op_rows
from fastgan.bench.measure.timer import Protocol, Samples, measure
from fastgan.bench.op_case import GpuWork
from tests._small_networks import SMALL_RECIPES
from tests.gpu import _benchmarks, _cases, _markdown, _ops
from tests.gpu._steps import FAILED, PASSED, Session

QUICK = argparse.Namespace(device="cpu", quick=True, compiles=True)


@pytest.fixture
def tiny_cases(monkeypatch):
    """Cases of 2 samples of 2 × 4 × 4, measured for a moment, without torch.compile."""
    cases = [
        dataclasses.replace(case, name=f"{case.op} tiny", shapes=_shrink(case.shapes))
        for case in _cases.small_cases().values()
        if case.op in ("bias_act", "gradient_penalty")
    ]
    monkeypatch.setattr(_cases, "load_cases", lambda kind: cases)
    monkeypatch.setattr(_cases, "sources", lambda elements: iter(cases))
    monkeypatch.setattr(_ops, "grid", functools.partial(_cases.grid, elements=1))
    brief = Protocol(rounds=2, sample_seconds=1e-4)
    monkeypatch.setattr(_ops, "protocol", lambda options: brief)
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    return cases


def _shrink(shapes):
    return tuple(tuple((2, 2, 4, 4)[: len(s)]) if len(s) > 1 else (2,) for s in shapes)


def test_cases_grow_by_samples_and_their_counts_with_them():
    case = next(case for case in _cases.small_cases().values() if case.op == "bias_act")
    work = {"forward": GpuWork(moved_elements=10**9, launches=2)}
    case = dataclasses.replace(case, gpu_work=work)
    grown = _cases.enlarged(case, 4 * math.prod(case.shapes[0]))
    assert grown.shapes[0] == (4 * case.shapes[0][0], *case.shapes[0][1:])
    assert grown.shapes[1:] == case.shapes[1:]
    assert "x".join(map(str, grown.shapes[0])) in grown.name
    assert grown.floor_bytes("double") == 4 * case.floor_bytes("double")
    assert grown.gpu_bytes("forward") == 4 * case.gpu_bytes("forward")
    assert grown.gpu_launches("forward") == 2
    assert _cases.enlarged(case, 1) is case
    weight = dataclasses.replace(case, shapes=(case.shapes[0], (5, 3)))
    assert _cases.enlarged(weight, 2**30) is weight


@pytest.mark.parametrize("is_quick", [True, False])
def test_the_grid_has_every_op_in_every_dtype_and_layout(is_quick):
    grid = _cases.grid(is_quick=is_quick)
    ops = {case.op for case in grid.values()}
    kernels = {path.parent.name for path in _build.source_root().glob("ops/*/*_cuda.cu")}
    assert ops == kernels
    assert ops < {case.op for case in load_cases("ops")}  # Winograd's are for a CPU
    assert {case.op for case in list(grid.values())[: len(ops)]} == ops
    dtypes = _cases.QUICK_DTYPES if is_quick else _cases.FULL_DTYPES
    images = [case for case in grid.values() if len(case.shapes[0]) == 4]
    found = {(case.dtype, case.layout) for case in images if case.op == "bias_act"}
    assert found == {(dtype, layout) for dtype in dtypes for layout in ("NCHW", "NHWC")}
    assert len(grid) == len({_cases.key(case) for case in grid.values()})


def test_rows_of_right_variants(tiny_cases):
    record = _ops.work(next(iter(_ops.grid(is_quick=True))), QUICK)
    assert record["failure"] is None
    assert [row["mode"] for row in record["rows"]] == ["forward", "forward+backward", "double"]
    first, *_, double = record["rows"]
    assert set(first["seconds"]) == {"native", "reference", "compile", "copy"}
    assert set(first["ratios_to_native"]) == {"reference", "compile"}
    assert double["absent"] == {"compile": _ops.NO_DOUBLE}
    assert (first["cache"], first["sets"]) == ("rotated", 2)
    assert set(first["launched"]) == {"native", "reference", "compile", "copy"}
    assert first["bound"].split(";")[0] in ("bytes", "latency")
    later = _ops.work(list(_ops.grid(is_quick=True))[2], QUICK)
    assert later["rows"][0]["absent"] == {"compile": _ops.LEFT_OUT}


def test_seconds_of_instructions_are_those_of_the_static_report(tiny_cases, monkeypatch):
    monkeypatch.setattr(_ops.counts, "read", lambda: {"bias_act forward float": 25.0})
    case = tiny_cases[0]
    assert case.op == "bias_act"
    assert _ops.instruction_seconds(case, "forward", 10**12, "cpu") == 1.0
    assert _ops.instruction_seconds(case, "double", 10**12, "cpu") is None
    half = dataclasses.replace(case, dtype=torch.bfloat16)
    assert _ops.instruction_seconds(half, "forward", 10**12, "cpu") is None


def test_small_rows_compare_launches(tiny_cases, monkeypatch):
    def measured(calls, how):
        assert how.cache == "warm"
        return Samples({"native": [3.0], "graph": [20.0]} if calls else {})

    monkeypatch.setattr(_ops, "measure", measured)
    item = _ops.items(is_quick=True)[0]
    assert item.startswith(_ops.SMALL)
    rows = _ops.work(item, QUICK)["rows"]
    assert [row["mode"] for row in rows] == ["forward", "forward+backward"]
    assert all(row["seconds"] == {"native": 3.0, "graph": 1.0} for row in rows)


def test_a_graph_holds_as_many_calls():
    calls = []
    _ops.graph_of(lambda: calls.append(1), 20, "cpu")()
    assert len(calls) == 20


@pytest.mark.parametrize("wrong", ["native", "reference"])
def test_a_wrong_variant_has_no_number(wrong, tiny_cases, monkeypatch):
    original = _ops.default_variants

    def spoil(case, *, is_compiled):
        variants = original(case, is_compiled=is_compiled)
        right = variants[wrong]
        return variants | {wrong: lambda *inputs: right(*inputs) * 1.01}

    monkeypatch.setattr(_ops, "default_variants", spoil)
    record = _ops.work(next(iter(_ops.grid(is_quick=True))), QUICK)
    assert f"forward: {wrong} y is off by" in record["failure"]
    for row in record["rows"]:
        assert wrong not in row["seconds"]
        assert "copy" in row["seconds"]
    page = "\n".join(_markdown._benchmarks({"ops": [{"item": "i", **record}], "training": []}, {}))
    assert page.count("**WRONG**") == 3


def test_an_op_that_does_not_take_a_dtype_is_no_failure(tiny_cases, monkeypatch):
    def refuse(*inputs):
        raise TypeError("float64 only")

    refusing = [dataclasses.replace(tiny_cases[0], run=refuse)]
    monkeypatch.setattr(_cases, "sources", lambda elements: iter(refusing))
    record = _ops.work(next(iter(_ops.grid(is_quick=True))), QUICK)
    assert record == {"refused": "the op does not take this: float64 only", "rows": []}


def test_a_missing_cuda_kernel_is_a_failure(monkeypatch):
    table = {"bias_act": {"cuda": {"active": "reference", "why": "not built"}}}
    monkeypatch.setattr(_ops, "backends", lambda: table)
    assert _ops.missing_kernel("bias_act", "cuda") == "bias_act has no CUDA kernel: not built"
    assert _ops.missing_kernel("bias_act", "cpu") is None


def test_the_step_and_its_page(tiny_cases, monkeypatch):
    def drive(module, items, options, limit_s):
        assert 0 < limit_s <= 100
        assert options == ["--device", "cpu", "--quick"]
        if module == "tests.gpu._ops":
            return [{"item": item, "failure": None} | _ops.work(item, QUICK) for item in items]
        rates = {"eager": 100.0, "captured": 250.0}
        good = {"batch": 4, "resolution": [64, 64], "images_per_second": rates}
        bad = {"item": "lost", "failure": "its process ended"}
        return [{"item": items[0], "failure": None} | good, bad]

    monkeypatch.setattr(_benchmarks, "drive", drive)
    few = [_ops.items(is_quick=True)[0], *list(_ops.grid(is_quick=True))[:2]]
    monkeypatch.setattr(_ops, "items", lambda is_quick: few)
    outcome = _benchmarks.run(Session(device="cpu", is_quick=True, limit_s=100.0))
    assert outcome.status == FAILED
    assert outcome.reason == "lost: its process ended"
    facts = {"copy_bytes_per_second": 4e12, "nominal_bytes_per_second": 4.8e12}
    data = json.loads(json.dumps(outcome.data))
    steps = [
        {"name": n, "status": PASSED, "reason": "", "seconds": 1, "data": d}
        for n, d in (("environment", facts), ("benchmarks", data))
    ]
    page = _markdown.render({"date": "d", "command": "c", "steps": steps})
    cold = [r for i in data["ops"] for r in i["rows"] if r["cache"] == "rotated"]
    lines = [line for line in page.splitlines() if line.startswith("| bias_act | bias_act tiny")]
    assert len(lines) == sum(r["op"] == "bias_act" for r in cold) + 2  # and the launches
    native = next(r for r in cold if r["op"] == "bias_act")["seconds"]["native"]
    assert f"| {native * 1e3:.3g} |" in lines[0]
    assert f"| {SMALL_RECIPES[0]} | 64×64 | 4 | 100 | 250 | 2.50 |" in page
    assert "| lost |  |  | **FAILED** its process ended |" in page


def test_share_of_bandwidth_and_prediction():
    row = {"floor_bytes": 4e9, "moved_bytes": 4.5e9, "launches": 2, "seconds": {"native": 2e-3}}
    facts = {"copy_bytes_per_second": 4e12, "nominal_bytes_per_second": 5e12}
    assert _markdown._share(row, facts) == "50%"
    assert _markdown._predicted(row, facts) == "1.01"  # 1 ms and two launches of 3 µs
    assert _markdown._share(row, {}) == _markdown._predicted(row, {}) == "-"


def test_tensors_that_a_case_holds_go_along():
    def make(f, other):
        g = lambda x: x * f  # noqa: E731
        return lambda x, *, k=1, h=(other, 2): g(x) + h[0] * k

    case = dataclasses.replace(
        next(iter(_cases.small_cases().values())),
        run=make(torch.ones(3), torch.ones(())),
        plain=make(torch.ones(3), torch.ones(())),
    )
    x = torch.ones(3, device="meta")
    assert op_rows.on_device(case, "meta").run(x).device.type == "meta"
    assert case.run(torch.ones(3)).tolist() == [2, 2, 2]
    assert op_rows.on_device(case, "cpu") is case


class FakeEvent:
    """CUDA's clock: a call of `a` takes 2 ms, of `b` 3 ms; recording reads it."""

    now = 0.0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = FakeEvent.now

    def synchronize(self):
        self.was_waited_for = True

    def elapsed_time(self, end):
        return end.at - self.at


def test_the_gpus_clock_times_the_calls_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)

    def call(milliseconds):
        FakeEvent.now += milliseconds

    how = Protocol(device="cuda", rounds=2, sample_seconds=0.006)
    assert how.clock.startswith("CUDA events")
    samples = measure({"a": lambda: call(2.0), "b": lambda: call(3.0)}, how)
    assert samples.seconds["a"] == pytest.approx([2e-3, 2e-3])
    assert samples.seconds["b"] == pytest.approx([3e-3, 3e-3])
    with pytest.raises(ValueError, match="cache='cold' is for device='cpu'"):
        Protocol(device="cuda", cache="cold")


def test_the_number_of_timed_calls_is_bounded(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    calls = []
    measure({"a": lambda: calls.append(1)}, Protocol(device="cuda", rounds=1, sample_seconds=1.0))
    assert len(calls) == 1 + (1 + 3) + (1 + 100)


def test_no_other_device():
    with pytest.raises(ValueError, match="device must be 'cpu' or 'cuda', got 'xpu'"):
        Protocol(device="xpu")
