# SPDX-License-Identifier: Apache-2.0
"""`fastgan train --logger`: which observers follow a run; the real packages in a slow test."""

import json
import os
import subprocess
import sys
from types import ModuleType

import pytest

from fastgan import training
from fastgan.training.checkpoint import checkpoint

BOTH = ("--logger", "tensorboard", "--logger", "wandb")
SMALL = ("--cfg", "mlp", "--batch", 4, "--metrics", "None")


def test_both_follow_a_run_and_stand_in_the_command_that_continues_it(cli, images, monkeypatch):
    told = []

    class Watch(training.Observer):
        def __init__(self, name):
            self.name = name

        def on_end(self, reason):
            told.append((self.name, reason))

    for package, name in (("tensorboard", "TensorBoard"), ("wandb", "WeightsAndBiases")):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
        monkeypatch.setattr(training, name, lambda name=name: Watch(name))
    flags = (*SMALL, "--minutes", 1e-6, "--desc", "watched", *BOTH, "--logger", "wandb")
    output = cli("train", "--data", images, *flags).output
    assert told == [("TensorBoard", "finished"), ("WeightsAndBiases", "finished")]
    folder = "runs/00000-noise-mlp-batch4-gamma1-watched"
    assert f"fastgan train --resume {folder} {' '.join(BOTH)}\n" in output
    assert not list(cli.folder.glob(f"{folder}/metric-*"))  # --metrics None


@pytest.mark.parametrize("package", ["tensorboard", "wandb"])
def test_a_missing_package_is_said_before_anything_is_loaded(cli, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    output = cli("train", "--logger", package, code=2).output
    assert f"'--logger': the Python package {package} is not installed" in output
    assert f"pip install 'fastgan[{package}]'" in output
    assert "loading PyTorch" not in output
    assert list(cli.folder.iterdir()) == []


OFFLINE = """
import socket, sys
connect = socket.socket.connect
def connect_to_a_file_alone(self, address):
    assert self.family == socket.AF_UNIX, f"connects to {address}"
    return connect(self, address)
def refuse(*arguments, **options):
    raise AssertionError(f"looks up {arguments}")
socket.socket.connect, socket.getaddrinfo = connect_to_a_file_alone, refuse
from fastgan.cli import main
main()
"""


@pytest.mark.slow
def test_the_real_packages_follow_a_run_and_its_resumption(images, tmp_path):
    """No connection, no key; no step twice, although the run goes on from an older checkpoint."""
    pytest.importorskip("tensorboard", reason="needs pip install 'fastgan[tensorboard]'")
    pytest.importorskip("wandb", reason="needs pip install 'fastgan[wandb]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    env |= {"HOME": str(tmp_path), "FASTGAN_CACHE_DIR": str(tmp_path / "cache")}

    def train(*flags):
        command = [sys.executable, "-c", OFFLINE, "train", *map(str, flags), *BOTH]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
        assert done.returncode in (0, 4), done.stderr
        assert "AssertionError" not in done.stdout + done.stderr

    train("--data", images, *SMALL, "--kimg", 0.1, "--tick", 0.032, "--snap", 1,
          "--outdir", tmp_path / "runs")  # fmt: skip
    (folder,) = (tmp_path / "runs").iterdir()
    newest = checkpoint.latest(folder)
    newest.with_suffix(".json").unlink()
    newest.unlink()
    train("--resume", folder)

    events = EventAccumulator(str(folder), {"images": 0}).Reload()
    assert [e.step for e in events.Scalars("Loss/D")] == [12, 32, 64, 96, 100]
    assert [e.step for e in events.Images("Pictures/fakes")] == [12, 32, 64, 96, 100]
    assert [e.step for e in events.Images("Pictures/reals")] == [12]

    def rows(path):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        shown = subprocess.run(
            command, env=env | {"WANDB_MODE": "offline"}, capture_output=True, text=True,
            check=True, timeout=200,
        ).stdout  # fmt: skip
        records = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
        return [r["history"]["item"] for r in records if r["type"] == "history"]

    first, second = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    assert first.name == second.name  # one run
    assert [row["Progress/kimg"] for row in rows(first)] == [0.012, 0.032, 0.064, 0.096, 0.1]
    assert [row["_step"] for row in rows(second)] == [100]
    assert {"Loss/D", "Pictures/fakes.path"} <= set(rows(second)[0])
