# SPDX-License-Identifier: Apache-2.0
"""The runner measures right results only, interleaved, and reports all that a number depends on."""

import os

import pytest
import torch

from fastgan import environment
from fastgan.bench.case_files import case_files, load_cases
from fastgan.bench.measure import op_rows
from fastgan.bench.measure.correctness import check, expected, reference
from fastgan.bench.measure.timer import Protocol, measure
from fastgan.bench.op_case import MODES, OpCase, evaluate, make_tensors
from fastgan.bench.report import op_table
from fastgan.ops import bias_act
from fastgan.ops.bias_act import bias_act_ref

BRIEF = Protocol(rounds=2, sample_seconds=1e-4)


def _plain(x, b):
    return bias_act_ref(x, b, 1, "swish", 0.0, 1.0, None)


def _case(**changes) -> OpCase:
    options = {
        "op": "bias_act",
        "name": "tiny",
        "shapes": ((2, 3, 5, 1), (3,)),
        "run": lambda x, b: bias_act(x, b, act="swish", gain=1.0),
        "plain": _plain,
        "floor_elements": {"forward": 60, "forward+backward": 150, "double": 300},
        "is_quick": True,
    }
    return OpCase(**(options | changes))


def _table(row) -> str:
    return op_table.table([op_table.row_json(row)])


class _ScaledGradient(torch.autograd.Function):
    """The identity, with a first derivative of 1.001 at order `broken`, 1 at the other."""

    @staticmethod
    def forward(ctx, x, broken):
        ctx.broken = broken
        return x.clone()

    @staticmethod
    def backward(ctx, dy):
        if ctx.broken == 1:
            return dy * 1.001, None
        return _ScaledGradient.apply(dy, 1) if ctx.broken == 2 else dy, None


WRONG = {
    "forward": lambda x, b: _plain(x, b) * 1.001,
    "forward+backward": lambda x, b: _plain(_ScaledGradient.apply(x, 1), b),
    "double": lambda x, b: _plain(_ScaledGradient.apply(x, 2), b),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_variant_gets_words_and_no_number(mode):
    case = _case()
    variants = {"native": reference(case), "planted": WRONG[mode]}
    rows = {row.mode: row for row in op_rows.run_case(case, BRIEF, variants)}

    assert rows[mode].failure.startswith("planted: ")
    assert rows[mode].samples is None
    assert "WRONG, not measured: planted: " in _table(rows[mode])
    assert op_table.row_json(rows[mode])["variants"] == {}
    for right in MODES[: MODES.index(mode)]:
        assert rows[right].failure is None


@pytest.mark.parametrize("spoil", ["missing", "nan", "shape"])
def test_check_refuses_results_that_hide_from_a_difference(spoil):
    case = _case()
    tensors = make_tensors(case)
    want = expected(case, "double", tensors)
    got = evaluate("double", reference(case), tensors)
    assert check(got, want) is None

    bad = {"missing": None, "nan": torch.full_like(got["d_d0"], float("nan"))}
    bad["shape"] = got["d_d0"].sum()
    assert check(got | {"d_d0": bad[spoil]}, want).startswith("d_d0 ")


def test_a_missing_gradient_may_stand_for_zeros():
    assert check({"d": None}, {"d": torch.zeros(3)}) is None
    assert check({"d": torch.zeros(3)}, {"d": None}) is None
    assert check({"d": torch.ones(3)}, {"d": None}) is not None


def test_timer_interleaves_and_rotates(monkeypatch):
    calls = []
    monkeypatch.setattr(Protocol, "now", lambda self: float(len(calls)))
    protocol = Protocol(rounds=3, sample_seconds=1.0)
    samples = measure({n: lambda n=n: calls.append(n) for n in "abc"}, protocol)

    # Warm-up: three calls each. Then one untimed and one timed call per sample.
    assert "".join(calls) == "aaabbbccc" + "aabbcc" + "bbccaa" + "ccaabb"
    assert dict(samples.seconds) == {n: [1.0] * 3 for n in "abc"}


def test_ratios_are_taken_round_by_round():
    samples = op_rows.Samples({"a": [1.0, 4.0, 2.0], "b": [2.0, 4.0, 1.0]})
    assert samples.ratios("b", "a") == [2.0, 1.0, 0.5]
    assert samples.median("a") == 2.0


def test_cold_cache_flushes_before_every_timed_call(monkeypatch):
    events = []
    monkeypatch.setattr(Protocol, "now", lambda self: float(len(events)))
    monkeypatch.setattr("fastgan.bench.measure.timer._FLUSH_BYTES", 16)
    monkeypatch.setattr(torch.Tensor, "add_", lambda self, _: events.append("flush"))
    protocol = Protocol(rounds=1, sample_seconds=2.0, cache="cold")
    samples = measure({"a": lambda: events.append("call")}, protocol)

    assert events == ["call"] + ["flush", "call"] * 3
    assert dict(samples.seconds) == {"a": [1.0]}


def test_compile_has_no_double_backward_and_says_so():
    case = _case()
    variants = {"native": case.plain, "reference": case.plain, "compile": case.plain}
    *_, double = op_rows.run_case(case, BRIEF, variants)

    assert set(double.absent) == {"compile"}
    assert "compile" not in double.samples.seconds
    assert "-: torch.compile cannot" in _table(double)


def test_native_required_leaves_the_variable_as_it_was(monkeypatch):
    monkeypatch.setenv("FASTGAN_REQUIRE_NATIVE", "0")
    with environment.native_required():
        assert os.environ["FASTGAN_REQUIRE_NATIVE"] == "1"
    assert os.environ["FASTGAN_REQUIRE_NATIVE"] == "0"


def test_every_op_file_declares_cases_that_the_definition_fits():
    for name in case_files("ops"):
        quick = load_cases("ops", [name], is_quick=True)
        assert quick
        assert len(load_cases("ops", [name])) > len(quick)
        for case in quick:
            tensors = make_tensors(case)
            same = evaluate("forward", case.plain, tensors)
            assert check(same, expected(case, "forward", tensors)) is None, case


@pytest.mark.parametrize("kernel", ["cpu", "reference"])
def test_an_op_without_a_kernel_is_named(kernel, monkeypatch):
    answer = {"bias_act": {"cpu": {"active": kernel, "why": None}}}
    monkeypatch.setattr(op_rows, "backends", lambda: answer)
    row = next(iter(op_rows.run_case(_case(), BRIEF, {"native": _plain})))

    assert row.has_kernel == (kernel == "cpu")
    assert ("bias_act has no native kernel on this device" in _table(row)) != row.has_kernel
