# SPDX-License-Identifier: Apache-2.0
"""`fastgan bench`: exit codes, what is printed and written; no test here looks at a time."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from fastgan import memory
from fastgan.bench import case_files
from fastgan.bench.measure import machine, op_rows, timer
from fastgan.bench.op_case import MODES, OpCase
from fastgan.bench.step_case import STEP, StepCase, StepVariant
from fastgan.ops import bias_act
from fastgan.ops._backend import reference_is_forced
from fastgan.ops.bias_act import bias_act_ref


def _plain(x, b):
    return bias_act_ref(x, b, 1, "swish", 0.0, 1.0, None)


def _run(x, b):
    return bias_act(x, b, act="swish", gain=1.0)


def _wrong_native(x, b):
    """The reference, which is the same function on the other backend, stays right."""
    return _run(x, b) * (1.0 if reference_is_forced() else 1.1)


def _op_case(run=_run) -> OpCase:
    return OpCase(
        op="bias_act",
        name="tiny",
        shapes=((2, 3, 5, 1), (3,)),
        run=run,
        plain=_plain,
        floor_elements={"forward": 60, "forward+backward": 150, "double": 300},
        is_quick=True,
    )


def _step_case(factor: float = 1.0) -> StepCase:
    def build(factor: float = 1.0) -> StepVariant:
        return StepVariant({"D": lambda: {"w": torch.ones(3) * factor}, "G": dict})

    return StepCase(
        name="toy",
        variants={"native": functools.partial(build, factor), "reference": build},
        schedule={"D": 1.0, "G": 1.0},
        is_quick=True,
    )


@pytest.fixture
def bench(cli, monkeypatch):
    """Runs the command on `cases` with a brief protocol; threads stay as they were."""
    brief = functools.partial(timer.Protocol, sample_seconds=1e-4)
    monkeypatch.setattr(timer, "Protocol", lambda **o: brief(**(o | {"rounds": 2})))

    def run(kind, cases, *options, code=0):
        monkeypatch.setattr(case_files, "load_cases", lambda *_, **__: cases)
        threads = torch.get_num_threads()
        result = cli("bench", kind, "--quick", *options, code=code)
        assert torch.get_num_threads() == threads
        return result

    run.folder = cli.folder
    return run


def test_ops_json_is_complete(bench):
    said = bench("ops", [_op_case()], "--json", "rows.json", "--plot", "rows.png").output
    data = json.loads((bench.folder / "rows.json").read_text())

    wanted = ["device", "cpu", "threads", "commit", "fastgan", "torch", "python", "allocator"]
    assert all(data["environment"][name] for name in wanted)
    assert data["environment"]["memory"].startswith("default")
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
        assert row["floor_bytes"] > 0
        assert set(row["variants"]) == {"native", "reference"}
        assert row["variants"]["native"]["ratio_to_native"] == 1.0
        assert all(len(v["rounds"]) == 2 for v in row["variants"].values())
    assert "torch.compile was not measured, because of --quick" in said
    with Image.open(bench.folder / "rows.png") as picture:
        assert picture.format == "PNG"


def test_what_is_compiled_can_be_chosen_apart_from_the_cases(bench, monkeypatch):
    seen = []

    def variants(case, is_compiled):
        seen.append(is_compiled)
        return {"native": case.run}

    monkeypatch.setattr(op_rows, "default_variants", variants)
    assert (
        "not measured, because of --no-compile" in bench("ops", [_op_case()], "--no-compile").output
    )
    assert "not measured" not in bench("ops", [_op_case()], "--compile", "--rounds", "1").output
    assert seen == [False, True]


def test_a_wrong_op_fails_the_command(bench):
    said = bench("ops", [_op_case(run=_wrong_native)], code=1).output
    assert "WRONG, not measured: native: y is off by" in said


@pytest.mark.parametrize("kind", ["models", "step"])
def test_steps_are_measured_and_sized(kind, bench):
    said = bench(kind, [_step_case()], "--json", "rows.json", "--plot", "rows.png").output
    rows = json.loads((bench.folder / "rows.json").read_text())["rows"]

    assert [row["phase"] for row in rows] == ["D", "G", STEP]
    for row in rows:
        assert set(row["variants"]) == {"native", "reference"}
        assert set(row["ratios"]) == {"reference / native"}
        assert row["variants"]["native"]["peak_bytes"] >= 0
        assert row["variants"]["native"]["page_faults"] >= 0
    assert "native MB" in said
    assert (bench.folder / "rows.png").stat().st_size > 1000


def test_a_wrong_step_fails_the_command(bench):
    said = bench("step", [_step_case(1.1)], code=1).output
    assert "WRONG, not measured: D native: w is off by 0.1 of its norm" in said


@pytest.mark.parametrize("kind", ["ops", "models", "step"])
def test_an_unknown_name_is_refused_with_those_that_exist(kind, cli):
    said = cli("bench", kind, "nothing", code=2).output
    assert "fastgan bench: name must be one of " in said
    assert "got 'nothing'" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["models", "--device", "cuda"], "make gpu-check"),
        (["step", "--cache", "cold"], "--cache cold works for ops only"),
    ],
)
def test_what_cannot_be_measured_is_refused(options, words, cli):
    said = cli("bench", *options, code=2).output
    assert "nothing was measured" in said
    assert words in said


def test_without_the_library_nothing_is_measured():
    done = subprocess.run(
        [sys.executable, "-c", "from fastgan.cli import main; main()", "bench", "ops", "bias_act",
         "--quick"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"FASTGAN_BACKEND": "reference"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )  # fmt: skip
    assert done.returncode == 2
    assert "nothing was measured. fastgan: bias_act runs on plain PyTorch on cpu" in done.stderr
    assert "unset it" in done.stderr
    assert "native ms" not in done.stdout


def test_the_memory_policy_is_printed_and_undone(bench, monkeypatch):
    settings = []
    monkeypatch.setattr(memory, "_allocator", lambda: ("glibc 2.36 malloc", None))
    monkeypatch.setattr(memory, "_mallopt", lambda values: settings.append(values) or True)
    said = bench("ops", [_op_case()], "--memory", "keep").output

    assert "keep: freed memory stays in the process (glibc 2.36 malloc" in said
    assert len(settings) == 3
    assert memory.policy().name == "default"


def test_a_memory_policy_that_is_not_to_be_had_is_refused(bench, monkeypatch):
    monkeypatch.setattr(memory, "_allocator", lambda: ("x", "x answers malloc"))
    said = bench("ops", [_op_case()], "--memory", "keep", code=2).output
    assert "nothing was measured. --memory keep: x answers malloc; use --memory default" in said


@pytest.mark.parametrize(
    ("argv", "orig_argv", "command"),
    [
        (["/bin/fastgan", "bench", "ops"], ["python3", "x", "bench"], "fastgan bench ops"),
        (["/a/data.py", "a b"], ["/bin/python3", "-m", "a.data", "a b"], "python -m a.data 'a b'"),
    ],
)
def test_the_command_is_kept_as_it_can_be_given_again(argv, orig_argv, command, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", orig_argv)
    assert machine.environment(timer.Protocol())["command"] == command


def test_an_installed_package_has_its_version_for_a_commit(monkeypatch, tmp_path):
    monkeypatch.setattr(
        machine, "__file__", str(tmp_path / "fastgan" / "bench" / "measure" / "machine.py")
    )
    facts = machine.environment(timer.Protocol())
    assert facts["commit"] == "not a git checkout"
    assert facts["fastgan"]
