"""The runner measures right results only, interleaved, and reports all that a number depends on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import _report, _runner
from benchmarks._case import MODES, Case, evaluate, make_tensors
from benchmarks._correctness import check, expected, reference
from benchmarks._timer import Protocol, measure
from fastgan.ops import bias_act
from fastgan.ops.bias_act import bias_act_ref

BRIEF = Protocol(rounds=2, sample_seconds=1e-4)


def _plain(x, b):
    return bias_act_ref(x, b, 1, "swish", 0.0, 1.0, None)


def _case(**changes) -> Case:
    options = {
        "op": "bias_act",
        "name": "tiny",
        "shapes": ((2, 3, 5, 1), (3,)),
        "run": lambda x, b: bias_act(x, b, act="swish", gain=1.0),
        "plain": _plain,
        "floor_elements": {"forward": 60, "forward+backward": 150, "double": 300},
        "is_quick": True,
    }
    return Case(**(options | changes))


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
    rows = {row.mode: row for row in _runner.run_case(case, BRIEF, variants)}

    assert rows[mode].failure.startswith("planted: ")
    assert rows[mode].samples is None
    assert "WRONG, not measured: planted: " in _report.table([rows[mode]])
    assert _report.row_json(rows[mode])["variants"] == {}
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
    samples = _runner.Samples({"a": [1.0, 4.0, 2.0], "b": [2.0, 4.0, 1.0]})
    assert samples.ratios("b", "a") == [2.0, 1.0, 0.5]
    assert samples.median("a") == 2.0


def test_cold_cache_flushes_before_every_timed_call(monkeypatch):
    events = []
    monkeypatch.setattr(Protocol, "now", lambda self: float(len(events)))
    monkeypatch.setattr("benchmarks._timer._FLUSH_BYTES", 16)
    monkeypatch.setattr(torch.Tensor, "add_", lambda self, _: events.append("flush"))
    protocol = Protocol(rounds=1, sample_seconds=2.0, cache="cold")
    samples = measure({"a": lambda: events.append("call")}, protocol)

    assert events == ["call"] + ["flush", "call"] * 3
    assert dict(samples.seconds) == {"a": [1.0]}


def test_compile_has_no_double_backward_and_says_so():
    case = _case()
    variants = {"native": case.plain, "reference": case.plain, "compile": case.plain}
    *_, double = _runner.run_case(case, BRIEF, variants)

    assert set(double.absent) == {"compile"}
    assert "compile" not in double.samples.seconds
    assert "-: torch.compile cannot" in _report.table([double])


def test_json_is_complete(tmp_path, monkeypatch, capsys):
    case = _case(run=_plain)
    monkeypatch.setattr(_runner, "load_cases", lambda names, is_quick: [case])
    monkeypatch.setattr(command, "Protocol", lambda **_: BRIEF)
    threads = torch.get_num_threads()
    try:
        assert command.main(["--quick", "--json", str(tmp_path / "rows.json")]) == 0
    finally:
        torch.set_num_threads(threads)
    data = json.loads((tmp_path / "rows.json").read_text())

    wanted = ["device", "cpu", "threads", "commit", "fastgan", "torch", "python", "allocator"]
    assert all(data["environment"][name] for name in wanted)
    assert "isa" in data["environment"]
    assert data["environment"]["protocol"] == {
        "device": "cpu",
        "threads": 1,
        "rounds": 2,
        "sample_seconds": 1e-4,
        "cache": "warm",
        "clock": "process CPU time",
    }
    assert [row["mode"] for row in data["rows"]] == list(MODES)
    for row in data["rows"]:
        assert row["failure"] is None
        assert row["floor_bytes"] == 4 * case.floor_elements[row["mode"]]
        assert set(row["variants"]) == {"native", "reference"}
        assert row["variants"]["native"]["ratio_to_native"] == 1.0
        assert all(len(v["rounds"]) == 2 for v in row["variants"].values())
    assert "left out by --quick" in capsys.readouterr().out


def test_a_wrong_row_fails_the_command(monkeypatch, capsys):
    monkeypatch.setattr(
        _runner, "load_cases", lambda names, is_quick: [_case(run=WRONG["forward"])]
    )
    monkeypatch.setattr(_runner, "reference", lambda case: case.plain)
    monkeypatch.setattr("benchmarks._correctness.reference", lambda case: case.plain)
    threads = torch.get_num_threads()
    try:
        assert command.main(["--quick"]) == 1
    finally:
        torch.set_num_threads(threads)
    assert "WRONG, not measured: native: y is off by" in capsys.readouterr().out


def test_without_the_library_nothing_is_measured():
    environment = os.environ | {"FASTGAN_BACKEND": "reference"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "bias_act", "--quick"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "nothing measured. fastgan: bias_act runs on plain PyTorch on cpu" in done.stderr
    assert "native ms" not in done.stdout


def test_native_required_leaves_the_variable_as_it_was(monkeypatch):
    monkeypatch.setenv("FASTGAN_REQUIRE_NATIVE", "0")
    with _runner.native_required():
        assert os.environ["FASTGAN_REQUIRE_NATIVE"] == "1"
    assert os.environ["FASTGAN_REQUIRE_NATIVE"] == "0"


def test_every_bench_file_declares_cases_that_the_definition_fits():
    for name in _runner.bench_files():
        quick = _runner.load_cases([name], is_quick=True)
        assert quick
        assert len(_runner.load_cases([name])) > len(quick)
        for case in quick:
            tensors = make_tensors(case)
            same = evaluate("forward", case.plain, tensors)
            assert check(same, expected(case, "forward", tensors)) is None, case


def test_unknown_bench_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        command.main(["bias_atc"])
    said = capsys.readouterr().err
    assert "no bench_bias_atc.py; there are " in said
    assert ", bias_act, " in said
