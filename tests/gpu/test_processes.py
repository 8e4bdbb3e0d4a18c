# SPDX-License-Identifier: Apache-2.0
"""A GPU check's steps and items are processes: what crashes or hangs costs only itself."""

import os
import sys
import time
from pathlib import Path

import pytest

from tests.gpu import _sanitizer, _steps
from tests.gpu._child_processes import drive
from tests.gpu._steps import FAILED, NOT_RUN, Session

WORKER = """
import argparse, os, sys, time
from tests.gpu._child_processes import serve

def work(item, options):
    if item == "crash":
        print("the last words", flush=True)
        os._exit(7)
    if item == "hang":
        time.sleep(60)
    return {"failure": "bad" if item == "wrong" else None, "device": options.device}

sys.exit(serve(work, argparse.ArgumentParser()))
"""


@pytest.fixture
def worker(tmp_path, monkeypatch):
    (tmp_path / "gpu_check_worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "gpu_check_worker"


def test_an_item_that_crashes_costs_only_itself(worker, capsys):
    records = drive(worker, ["a", "crash", "wrong", "b"], ["--device", "cpu"], 60.0)
    assert [record["item"] for record in records] == ["a", "crash", "wrong", "b"]
    assert [record["failure"] for record in records] == [
        None, "its process ended with exit code 7: the last words", "bad", None,
    ]  # fmt: skip
    assert records[3]["device"] == "cpu"


def test_items_past_the_limit_are_said_not_lost(worker, capsys):
    a, hang, b = drive(worker, ["a", "hang", "b"], [], 3.0)
    assert a["failure"] is None
    assert hang["failure"].startswith("cut off")
    assert b["failure"].startswith("not reached")


def test_a_worker_that_cannot_start_fails_every_item(tmp_path, capsys):
    records = drive("gpu_check_no_such_module", ["a", "b"], [], 60.0)
    assert all("before its first item" in record["failure"] for record in records)


def test_a_command_past_its_limit_ends_with_its_children(tmp_path):
    script = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']);"
    script += "print(p.pid, flush=True); time.sleep(60)"
    log, start = tmp_path / "log", time.monotonic()
    with log.open("w") as stream:
        assert _steps.run_logged([sys.executable, "-c", script], stream, 2.0) is None
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        _wait_for_end(int(log.read_text()))


def _wait_for_end(pid: int) -> None:
    for _ in range(50):
        os.kill(pid, 0)
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            raise ProcessLookupError
        time.sleep(0.1)


def test_a_step_runs_in_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    if _sanitizer.find(os.environ) is not None:
        pytest.skip("this machine has compute-sanitizer in /usr/local/cuda")
    done = _steps.run_step("sanitizer", Session(), tmp_path / "s.log", tmp_path / "s.json")
    assert (done["name"], done["status"], done["log"]) == ("sanitizer", NOT_RUN, "s.log")


def test_a_step_without_an_outcome_has_failed(tmp_path):
    done = _steps.run_step("no such step", Session(), tmp_path / "s.log", tmp_path / "s.json")
    assert done["status"] == FAILED
    assert "ended with exit code 1 and no outcome: StopIteration" in done["reason"]
