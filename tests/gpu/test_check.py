# SPDX-License-Identifier: Apache-2.0
"""`make gpu-check` without a GPU: its plan, what it reads, what it concludes, how it fails."""

import dataclasses
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from tests.gpu import __main__ as command
from tests.gpu import (
    _awkward_shapes,
    _build_libraries,
    _environment,
    _markdown,
    _plan,
    _sanitizer,
    _suite,
)
from tests.gpu._steps import FAILED, GRACE_SECONDS, NOT_RUN, PASSED, Outcome, Session


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")


@pytest.mark.parametrize("version", [None, "13.0"])
def test_without_a_gpu_one_line_says_what_is_missing(
    version, no_gpu, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(torch.version, "cuda", version)
    assert command.main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gpu-check: nothing checked and nothing written. torch ")
    assert ("has no CUDA; install" if version is None else "sees no CUDA device") in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_plan_is_shown_without_a_gpu(no_gpu, capsys):
    assert command.main(["--dry-run", "--quick"]) == 0
    shown = capsys.readouterr().out.splitlines()
    names = ["build", "environment", "suite", "sanitizer", "capture", "benchmarks"]
    assert [line.split()[0] for line in shown] == [*names, "together"]


def test_a_quick_run_fits_a_lent_machine():
    """At most 8 minutes of limits, and 8 files: two results and a log per step."""
    assert sum(step.limit_s(is_quick=True) for step in _plan.STEPS) <= _plan.QUICK_SECONDS == 480
    assert len(_plan.STEPS) + 2 <= 8


def test_the_day_fits_a_quarter_of_an_hour_and_each_part_a_command_of_ten_minutes():
    environment = next(step for step in _plan.STEPS if step.name == "environment").limits[1]
    for name, limit in (("day", _plan.DAY_SECONDS), ("day-1", 600.0), ("day-2", 600.0)):
        assert sum(s.limits[0] + GRACE_SECONDS for s in _plan.GROUPS[name]) + environment <= limit
    first = [step.name for step in _plan.chosen(["day"])]
    assert first == ["environment", "day-ops", "day-steps", "day-profile", "day-others",
                     "day-memory", "day-suite"]  # fmt: skip
    assert [step.name for step in _plan.chosen(["day-2"])] == [first[0], *first[4:]]


def test_only_named_steps_run_beside_the_environment(no_gpu, capsys):
    assert [s.name for s in _plan.chosen(["capture"])] == ["environment", "capture"]
    with pytest.raises(SystemExit):
        command.main(["--only", "capture,bench"])
    assert "no step 'bench'; there are build, environment" in capsys.readouterr().err


NVCC = "Built on Wed\nCuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0"
DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Mon Oct\nGCC version: gcc 12"
ELFS = "ELF file    1: a.1.sm_80.cubin\nELF file    2: a.2.sm_90.cubin\nELF file 3: b.sm_80.cubin"


def test_versions_are_read():
    assert _environment.parse_nvcc(NVCC) == "13.0 (V13.0.88)"
    assert _environment.parse_nvcc("") is None
    assert _environment.parse_driver(DRIVER) == "580.159.04"
    assert _environment.parse_elf_list(ELFS) == ["sm_80", "sm_90"]
    h200 = SimpleNamespace(memory_clock_rate=3201000, memory_bus_width=6144)
    assert _environment.nominal_bandwidth(h200) == pytest.approx(4.917e12, rel=1e-3)
    assert _environment.nominal_bandwidth(SimpleNamespace(name="old torch")) is None


def test_the_commit_is_asked_of_git(tmp_path):
    assert _environment.commit_facts(tmp_path, "abc")["commit"] == "abc"
    assert "not a git" in _environment.commit_facts(tmp_path, None)["commit"]
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e"]
    subprocess.run([*git, "init", "-q"], check=True, timeout=60)
    commit = [*git, "commit", "-q", "--allow-empty", "-m", "m"]
    subprocess.run(commit, check=True, timeout=60)
    clean = _environment.commit_facts(tmp_path, None)
    assert len(clean["commit"]) == 40
    assert clean["is_dirty"] is False
    (tmp_path / "new").touch()
    assert _environment.commit_facts(tmp_path, None)["is_dirty"] is True
    assert _environment.commit_facts(tmp_path, "abc") == {"commit": "abc", "is_dirty": None}


def test_the_environment_of_a_machine_without_the_kernels(monkeypatch, capsys):
    outcome = _environment.run(Session(device="cpu"))
    if outcome.data["library"] is None:
        assert outcome.status == FAILED
        assert outcome.reason == outcome.data["library_missing"]
    assert json.loads(json.dumps(outcome.data))["torch"] == torch.__version__


@pytest.mark.parametrize("broken", ["_C", "_C_cuda"])
def test_one_library_that_does_not_build_does_not_stop_the_other(broken, monkeypatch, capsys):
    facts = {"cpu_reason": "not built", "cuda_reason": "not built"}
    monkeypatch.setattr("fastgan.ops.library_facts", lambda: facts)
    tried = []
    monkeypatch.setattr(_build_libraries, "run_logged", lambda line, *_: tried.append(line[-1]) or
                        int(line[-1] == broken))  # fmt: skip
    outcome = _build_libraries.run(Session())
    assert tried == ["_C_cuda", "_C"]
    assert outcome.status == FAILED
    assert outcome.reason == f"{broken} was not built (exit code 1; see the log)"


PYTEST = {
    "good": ("12 passed, 3 skipped in 4.20s", 0, PASSED, ""),
    "red": ("FAILED tests/a.py::b[1]\n1 failed, 2 passed in 1.00s", 1, FAILED, "exit code 1: 1 fa"),
    "none": ("3 skipped in 0.10s", 0, FAILED, "no test passed: 3 skipped"),
    "no GPU": (
        "SKIPPED [9] tests/conftest.py:80: --backend cuda: not built\n1 passed, 9 skipped in 1.00s",
        0, FAILED, "tests were skipped: --backend cuda: not built",
    ),
    "slow": ("..........", None, FAILED, "ran past 9 s"),
    "usage": ("ERROR: usage: pytest", 4, FAILED, "exit code 4: ERROR: usage"),
}  # fmt: skip


@pytest.mark.parametrize("name", PYTEST)
def test_what_pytest_said_is_understood(name, monkeypatch):
    text, code, status, reason = PYTEST[name]

    def run_logged(line, stream, limit_s):
        stream.write(text)
        return code

    monkeypatch.setattr(_suite, "run_logged", run_logged)
    outcome = _suite.run(Session(limit_s=9.0))
    assert outcome.status == status
    assert reason in outcome.reason
    if name == "red":
        assert outcome.data["failures"] == ["tests/a.py::b[1]"]
        assert outcome.data["counts"] == {"failed": 1, "passed": 2}


def test_the_suite_runs_on_cuda():
    full, quick = (_suite.command(Session(is_quick=q)) for q in (False, True))
    folders = ["tests/ops", "tests/nn", "tests/losses", "tests/compat", "tests/training", "-q"]
    assert full[1:11] == ["-m", "pytest", "--backend", "cuda", *folders]
    assert quick[: len(full)] == full
    assert "not slow" in quick


def test_tests_that_ignore_the_device_are_counted():
    picked = ["tests/ops/test_bias_act.py::test_clamp_comes_after_gain"]
    picked += ["tests/test_layout.py::test_there_are_ops"]
    line = [sys.executable, "-m", "pytest", "--backend", "reference", "-q", *picked]
    done = subprocess.run(
        [*line, "-p", "tests.gpu._count_device_tests"],
        cwd=_environment.ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert "\nran on the device: 1; on the CPU, without asking: 1\n" in done.stdout


CLEAN = "samples: 15 ran, 0 refused by their ops, of 3 ops\n"
SANITIZER = {
    "good": (CLEAN + "========= ERROR SUMMARY: 0 errors\n", 0, PASSED, ""),
    "no race": (
        CLEAN + "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n",
        0, PASSED, "",
    ),
    "ours": (
        "========= Invalid __global__ write of size 4 bytes\n"
        "=========     at void fastgan::<unnamed>::tile<float>(fastgan::P)+0x80\n"
        f"{CLEAN}========= ERROR SUMMARY: 2 errors\n",
        86, FAILED, "2 errors (1 lines name fastgan",
    ),
    "warning": (
        CLEAN + "========= RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)\n",
        0, FAILED, "none names a fastgan kernel",
    ),
    "crash": (
        "bias_act: tiny\nKilled\n========= ERROR SUMMARY: 0 errors\n",
        137, FAILED, "the samples did not finish (exit code 137)",
    ),
    "silent": (CLEAN, 0, FAILED, "it printed no summary"),
    "slow": ("bias_act: tiny", None, FAILED, "ran past 9 s, at: bias_act: tiny"),
    "gVisor": ("========= Error: Device not supported.", 1, NOT_RUN, "does not support"),
}  # fmt: skip


@pytest.mark.parametrize("name", SANITIZER)
def test_what_the_sanitizer_said_is_understood(name):
    text, code, status, reason = SANITIZER[name]
    outcome = _sanitizer.outcome_of(text, text.strip().splitlines()[-1], code, 9.0)
    assert outcome.status == status
    assert reason in outcome.reason


FAKE_SANITIZER = r"""#!/bin/sh
test "$PYTORCH_NO_CUDA_MEMORY_CACHING" = 1 || exit 9
echo "$@"
echo "samples: 1 ran"
if test "$2" = racecheck; then
  echo "========= RACECHECK SUMMARY: 1 hazards displayed (1 errors, 0 warnings)"
  exit 86
fi
echo "========= ERROR SUMMARY: 0 errors"
"""


@pytest.mark.parametrize("place", ["PATH", "CUDA_HOME/bin", "CUDA_HOME/compute-sanitizer"])
def test_the_sanitizer_is_found_and_run(place, tmp_path, monkeypatch, capsys):
    variable, _, folder = place.partition("/")
    path = tmp_path / folder / "compute-sanitizer"
    path.parent.mkdir(exist_ok=True)
    path.write_text(FAKE_SANITIZER)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv(
        variable, f"{tmp_path}:/usr/bin:/bin" if variable == "PATH" else str(tmp_path)
    )
    outcome = _sanitizer.run(Session(is_quick=True))
    assert {tool: found["status"] for tool, found in outcome.data["tools"].items()} == {
        "memcheck": PASSED, "racecheck": FAILED, "initcheck": PASSED, "synccheck": PASSED,
    }  # fmt: skip
    assert outcome.status == FAILED
    assert outcome.reason.startswith("racecheck: 1 hazards")
    assert "--tool memcheck --error-exitcode 86 --report-api-errors no" in capsys.readouterr().out


def test_no_sanitizer_is_no_failure_and_says_so(monkeypatch):
    monkeypatch.setattr(_sanitizer, "find", lambda environment: None)
    outcome = _sanitizer.run(Session())
    assert outcome.status == NOT_RUN
    assert "neither on the PATH nor in CUDA_HOME" in outcome.reason


def test_the_samples_are_awkward_and_fit_their_ops(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["_awkward_shapes", "--device", "cpu", "--quick"])
    assert _awkward_shapes.main() == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("samples: ")
    every = list(_awkward_shapes.samples(_awkward_shapes.load_cases("ops"), is_quick=False))
    for op in {sample.case.op for sample in every}:
        pairs = {(s.case.dtype, s.layout) for s in every if s.case.op == op}
        assert {dtype for dtype, _ in pairs} == set(_awkward_shapes.DTYPES), op
        assert {layout for _, layout in pairs} == set(_awkward_shapes.LAYOUTS), op
    assert all(torch.Size(s.case.shapes[0]).numel() < 2**20 for s in every)


def test_an_op_that_refuses_all_samples_is_named(monkeypatch, capsys):
    case = _awkward_shapes.load_cases("ops", ["bias_act"], is_quick=True)[0]

    def refuse(*inputs):
        raise ValueError("not this")

    refusing = dataclasses.replace(case, op="shy", run=refuse)
    monkeypatch.setattr(_awkward_shapes, "load_cases", lambda kind: [case, refusing])
    monkeypatch.setattr(_awkward_shapes, "has_cuda_kernel", lambda op: True)
    monkeypatch.setattr(sys, "argv", ["_awkward_shapes", "--device", "cpu", "--quick"])
    assert _awkward_shapes.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "no sample ran of shy"


def test_no_step_stops_another_and_results_are_always_whole(tmp_path, monkeypatch, capsys):
    outcomes = {
        "environment": Outcome(status=PASSED, data={"device": "NVIDIA H200", "sm": "9.0"}),
        "suite": Outcome(status=FAILED, reason="1 failed | oh"),
        "sanitizer": Outcome(status=NOT_RUN, reason="not there"),
    }

    def run_step(name, session, log, outcome):
        assert (tmp_path / "results.json").is_file() == (name != "environment")
        assert session == Session(is_quick=True, limit_s=_plan_limit(name), commit="abc")
        return {"name": name, "seconds": 1.0, "log": log.name} | dataclasses.asdict(outcomes[name])

    monkeypatch.setattr(command, "run_step", run_step)
    monkeypatch.setattr(command, "missing_gpu", lambda: None)
    line = ["--quick", "--only", "suite,sanitizer", "--out", str(tmp_path), "--commit", "abc"]
    assert command.main(line) == 1
    results = json.loads((tmp_path / "results.json").read_text())
    assert [step["status"] for step in results["steps"]] == [PASSED, FAILED, NOT_RUN]
    page = (tmp_path / "results.md").read_text()
    assert "| suite | **failed** | 1.0 | 1 failed \\| oh |" in page
    name = f"benchmarks/results/gpu/nvidia-h200-{results['date'].split()[0]}.md"
    assert name in capsys.readouterr().out
    outcomes["suite"] = Outcome(status=PASSED)
    (tmp_path / "results.json").unlink()
    assert command.main(line) == 0


def _plan_limit(name):
    return next(step.limit_s(is_quick=True) for step in _plan.STEPS if step.name == name)


def test_the_page_of_an_empty_run_is_written():
    page = _markdown.render({"date": "d", "command": "c", "steps": []})
    assert "an unknown device" in page
