# SPDX-License-Identifier: Apache-2.0
"""`fastgan train --gpus 2` on a CPU: two processes that torchrun starts, stops and starts again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastgan.cli import run_folders, train_launch

FAST = ["--batch", 8, "--cfg", "mlp", "--device", "cpu"]
LONG = [*FAST, "--gpus", 2, "--kimg", 3.2, "--tick", 0.2, "--snap", 1]
LIMIT_SEC = 200


def fastgan(folder, *args, **environment):
    command = [sys.executable, "-m", "fastgan.cli", "train", *map(str, args)]
    shared = {"FASTGAN_CACHE_DIR": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | shared | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process, code=0):
    try:
        output = process.communicate(timeout=LIMIT_SEC)[0]
    finally:
        for pid in [*ranks_of(process.pid).values()] if process.poll() is None else ():
            os.kill(pid, signal.SIGKILL)  # none may outlive a failed test
        process.kill()
    assert process.returncode == code, output
    return output


def only_run(folder):
    (run_dir,) = (folder / "runs").iterdir()
    return run_dir


def newest(run_dir):
    """The newest checkpoint's document."""
    documents = [json.loads(p.read_text()) for p in run_dir.glob("checkpoints/ckpt-*.json")]
    return max(documents, key=lambda document: document["counters"]["nimg"])


def wait_for(condition, process):
    end = time.monotonic() + LIMIT_SEC
    while not condition():
        assert process.poll() is None, process.communicate(timeout=30)[0]
        assert time.monotonic() < end
        time.sleep(0.05)


def ticks(folder):
    files = list(folder.glob("runs/*/stats.jsonl"))
    return len(files[0].read_text().splitlines()) if files else 0


def ranks_of(parent):
    """{rank: pid} of the launcher's children (Linux)."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text().rpartition(")")[2].split()
            environ = dict(
                line.split(b"=", 1)
                for line in (path / "environ").read_bytes().split(b"\0")
                if b"=" in line
            )
        except OSError:
            continue
        if int(stat[1]) == parent and b"RANK" in environ:
            found[int(environ[b"RANK"])] = int(path.name)
    return found


def test_two_processes_train_one_run_and_one_goes_on(tmp_path, images):
    output = finish(fastgan(tmp_path, "--data", images, *FAST, "--gpus", 2, "--kimg", 0.048))
    run_dir = only_run(tmp_path)
    assert output.count("finished at 0.0 kimg") == 1  # only rank 0 prints
    assert json.loads((run_dir / "launch.json").read_text())["ended"] == "finished"
    assert (run_dir / "fakes000000_048.png").exists()
    assert newest(run_dir)["counters"]["nimg"] == 48

    resume = ["--resume", "latest", "--kimg", 0.064]
    assert "finished" in finish(fastgan(tmp_path, *resume, "--device", "cpu"))
    assert newest(only_run(tmp_path))["counters"]["nimg"] == 64


@pytest.mark.slow  # its parts: test_ending.py, for the exit codes, and the next test
def test_a_run_that_diverged_is_not_started_again(tmp_path, images):
    """Its exit code reaches the caller, once."""
    wild = ["--glr", 1e30, "--dlr", 1e30, "--kimg", 100]
    output = finish(fastgan(tmp_path, "--data", images, *FAST, "--gpus", 2, *wild), code=3)
    assert output.count("Error: ") == 1
    assert "resumed from" not in output
    run_dir = only_run(tmp_path)
    record = json.loads((run_dir / "launch.json").read_text())
    assert record["ended"] == "diverged"


def test_torchruns_own_restart_of_a_diverged_run_is_refused(tmp_path, monkeypatch):
    class FirstRank:
        is_first = True

    run_dir = tmp_path / "00000-x"
    run_dir.mkdir()
    (run_dir / "launch.json").write_text(json.dumps({"id": "a", "ended": "diverged"}))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(ValueError, match="diverged and is not started again"):
        train_launch.launched_run(FirstRank(), tmp_path, None, "x")


def test_a_launched_run_is_found_by_its_id(tmp_path):
    for number, run_id in enumerate(("a", "b", "a")):
        run_dir = tmp_path / f"{number:05d}-x"
        run_dir.mkdir()
        (run_dir / "launch.json").write_text(json.dumps({"id": run_id, "ended": None}))
    (tmp_path / "00003-torn").mkdir()
    (tmp_path / "00003-torn" / "launch.json").write_text('{"id"')
    assert train_launch.find_launched(tmp_path, "a") == tmp_path / "00002-x"
    assert train_launch.find_launched(tmp_path, "c") is None
    train_launch.note_end(tmp_path / "00002-x", "finished")
    assert json.loads((tmp_path / "00002-x" / "launch.json").read_text())["ended"] == "finished"
    assert run_folders.list_runs(tmp_path)[-1].name == "00003-torn"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, images):
    """The hash of all tensors at the end of a run that the slow tests disturb."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(fastgan(folder, "--data", images, *LONG))
    return newest(only_run(folder))["tensors"]["sha256"]


@pytest.mark.slow
def test_a_killed_rank_costs_no_bit(tmp_path, images, undisturbed):
    process = fastgan(tmp_path, "--data", images, *LONG)
    wait_for(lambda: ticks(tmp_path) >= 4, process)
    log = only_run(tmp_path) / "log.txt"
    killed, before = time.monotonic(), newest(only_run(tmp_path))["counters"]["nimg"]
    os.kill(ranks_of(process.pid)[1], signal.SIGKILL)
    wait_for(lambda: "tick" in log.read_text().partition("resumed from")[2], process)
    print(f"first tick {time.monotonic() - killed:.1f} s after the kill")
    output = finish(process)
    assert output.count("resumed from") == 1
    assert before > 0
    assert newest(only_run(tmp_path))["counters"]["nimg"] == 3200
    assert newest(only_run(tmp_path))["tensors"]["sha256"] == undisturbed


@pytest.mark.slow
def test_a_hung_rank_is_named_and_the_run_goes_on(tmp_path, images, undisturbed):
    process = fastgan(tmp_path, "--data", images, *LONG, FASTGAN_RANK_TIMEOUT="5")
    wait_for(lambda: ticks(tmp_path) >= 3, process)
    stopped = time.monotonic()
    os.kill(ranks_of(process.pid)[1], signal.SIGSTOP)
    log = only_run(tmp_path) / "log.txt"
    wait_for(lambda: "tick" in log.read_text().partition("resumed from")[2], process)
    print(f"first tick {time.monotonic() - stopped:.1f} s after the stop")
    output = finish(process)
    assert "rank 0 of 2: no progress for " in output
    assert "but these did not: rank 1 (last seen at " in output
    assert newest(only_run(tmp_path))["tensors"]["sha256"] == undisturbed


@pytest.mark.slow
def test_a_rank_that_hangs_for_good_ends_the_run(tmp_path, images):
    # without snapshots, because rank 0 may take its time for one
    endless = [*LONG, "--kimg", 1000, "--snap", 1000, "--max-restarts", 0]
    process = fastgan(tmp_path, "--data", images, *endless, FASTGAN_RANK_TIMEOUT="5")
    wait_for(lambda: ticks(tmp_path) >= 3, process)
    os.kill(ranks_of(process.pid)[0], signal.SIGSTOP)
    output = finish(process, code=70)
    assert "rank 1 of 2: no progress for " in output
    assert "but these did not: rank 0 (last seen at " in output
    assert "rank 1 ended with exit status 70" in output


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_launcher_saves_and_all_of_it_goes_on(
    tmp_path, images, undisturbed, number
):
    process = fastgan(tmp_path, "--data", images, *LONG)
    wait_for(lambda: ticks(tmp_path) >= 3, process)
    process.send_signal(number)
    output = finish(process)
    assert "Training stopped on request at " in output
    finish(fastgan(tmp_path, "--resume", "latest", "--gpus", 2, "--device", "cpu"))
    assert newest(only_run(tmp_path))["tensors"]["sha256"] == undisturbed
