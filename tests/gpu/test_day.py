# SPDX-License-Identifier: Apache-2.0
"""The GPU day on a CPU: its items, its records and its page."""

import argparse
import json
import subprocess

import pytest
import torch

from tests.gpu import __main__ as command
from tests.gpu import _day, _markdown, _plan, _whole_steps
from tests.gpu._steps import FAILED, PASSED, Outcome, Session

QUICK = argparse.Namespace(device="cpu", quick=True)
KINDS = {
    "day-steps": _whole_steps.STEPS[-1], "day-profile": _whole_steps.PROFILES[0],
    "day-others": _whole_steps.OTHERS[1], "day-memory": _whole_steps.MEMORY[0],
}  # fmt: skip


def page_of(steps):
    steps = [{"status": PASSED, "reason": "", "seconds": 1} | step for step in steps]
    return _markdown.render({"date": "d", "command": "c", "steps": json.loads(json.dumps(steps))})


def test_whole_steps_of_every_kind_and_their_page(monkeypatch):
    monkeypatch.setattr(_whole_steps, "period", lambda state: 1)
    records = {name: _whole_steps.work(item, QUICK) for name, item in KINDS.items()}
    assert records["day-steps"]["sec_per_kimg"] == pytest.approx(
        records["day-steps"]["ms_per_step"] / 4
    )
    assert records["day-steps"]["timed_steps"] == 1
    assert records["day-profile"]["rows"][0][2] > 0
    assert list(records["day-memory"]["moments"]) == [
        "first step, eager", "all phases captured", "graphs released", "captured again",
    ]  # fmt: skip
    page = page_of(
        {"name": name, "data": {"whole_steps": [{"item": KINDS[name], "failure": None} | record]}}
        for name, record in records.items()
    )
    assert "| others \\| 64 \\| reference | 4 |" in page
    assert "| captured again |" in page
    assert "in 1 steps | calls | microseconds |" in page


def test_precisions_are_what_their_names_say():
    configs = {
        name: _whole_steps.make_config(name, (16, 16), QUICK) for name in _whole_steps.PRECISIONS
    }
    assert [c.tf32 for c in configs.values()] == [False, True, True, True]
    assert [c.model.half_dtype for c in configs.values()] == [None, None, "bfloat16", "bfloat16"]
    assert [c.augment.mode for c in configs.values()] == ["noaug"] * 3 + ["ada"]


@pytest.mark.parametrize(("phase", "is_compiled"), [("d_step", True), ("d_penalty_step", False)])
def test_penalties_run_uncompiled(tiny_network, phase, is_compiled):
    runner = _whole_steps.PartlyCompiled("off", tiny_network.weight.device)
    seen = []
    runner(phase, lambda: seen.append(tiny_network._compiled_call_impl), {"D": tiny_network})
    assert (seen[0] is not None) is is_compiled
    assert tiny_network._compiled_call_impl is not None


@pytest.fixture
def tiny_network():
    network = torch.nn.Linear(2, 2)
    network.compile(backend="eager")
    return network


def test_ops_in_16_bits_come_first(monkeypatch):
    monkeypatch.setattr(_day, "drive", lambda module, items, options, limit_s: [
        {"item": item, "failure": None if " bfloat16 " in item else "lost"} for item in items
    ])  # fmt: skip
    outcome = _day.run_ops(Session(device="cpu", is_quick=True))
    items = [record["item"] for record in outcome.data["ops"]]
    assert {item.split(" | ")[0] for item in items} == set(_day.OPS)
    dtypes = [item.split(" | ")[2] for item in items]
    assert dtypes == sorted(dtypes)  # bfloat16, float32
    assert {item.split(" | ")[3] for item in items if item.startswith("upfirdn2d")} == {
        "NCHW", "NHWC",
    }  # fmt: skip
    assert outcome.status == FAILED
    assert "## Ops" in page_of([{"name": "day-ops", "data": dict(outcome.data)}])


def test_kernels_that_changed_since_the_last_results_are_tested(tmp_path, monkeypatch):
    for date, commit in (("2026-01-02 00:00 UTC", "a" * 40), ("2026-01-01 00:00 UTC", "b" * 40)):
        facts = {"name": "environment", "data": {"commit": commit}}
        (tmp_path / f"{commit[0]}.json").write_text(json.dumps({"date": date, "steps": [facts]}))
    assert _day.last_commit(tmp_path) == "a" * 40
    assert _day.last_commit(tmp_path / "none") is None
    said = {"stdout": "csrc/ops/bias_act/bias_act_cuda.cu\ncsrc/ops/upfirdn2d/planes.cuh\n"}

    def run(line, **options):
        assert line[:4] == ["git", "diff", "--name-only", "a" * 40]
        return argparse.Namespace(**said)

    monkeypatch.setattr(subprocess, "run", run)
    assert _day.changed_ops("a" * 40) == ["bias_act", "upfirdn2d"]
    said["stdout"] = "csrc/common/platform.cuh\n"
    every = _day.changed_ops("a" * 40)
    assert {"bias_act", "filtered_lrelu"} < set(every) == set(_day.changed_ops(None))
    ran = []
    monkeypatch.setattr(_day, "changed_ops", lambda since: ["bias_act", "upfirdn2d"])
    monkeypatch.setattr(
        _day._suite, "run", lambda session, line: ran.append(line) or Outcome(status=PASSED)
    )
    outcome = _day.run_changed_ops(Session(device="cpu"))
    assert ran[0][:5] == ["tests/ops", "--backend", "cpu", "-k", "bias_act or upfirdn2d"]
    assert "bias_act" in page_of([{"name": "day-suite", "data": dict(outcome.data)}])


def test_each_step_of_the_day_leaves_its_own_file(tmp_path, monkeypatch):
    def run_step(name, session, log, outcome):
        log.write_text("said")
        status = FAILED if name == "day-memory" else PASSED
        return {"name": name, "seconds": 1.0, "log": log.name, "status": status, "reason": "",
                "data": {}}  # fmt: skip

    monkeypatch.setattr(command, "run_step", run_step)
    steps = _plan.chosen(["day-2"])
    command.run_steps(steps, tmp_path, "c", is_quick=False, commit=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "day-memory.json", "day-memory.log", "day-others.json", "day-suite.json",
        "environment.log", "results.json",
    ]  # fmt: skip
    assert json.loads((tmp_path / "day-memory.json").read_text())["status"] == FAILED
