# SPDX-License-Identifier: Apache-2.0
"""Two processes never train in one run folder."""

import subprocess
import sys

import pytest

from fastgan.training.loop import loop
from fastgan.training.loop.observer import Observer
from fastgan.training.loop.owner import RunFolderInUse, owned

HOLD = """
import sys
from pathlib import Path
from fastgan.training.loop.owner import owned
with owned(Path(sys.argv[1])):
    print("has it", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_in_a_folder_is_refused_and_writes_nothing(tiny, tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout.readline() == "has it\n"
        with pytest.raises(RunFolderInUse, match=r"another process is training in .*/run"):
            loop.train(tiny.config(), tmp_path / "run")
        assert list((tmp_path / "run").iterdir()) == []
        other.kill()  # the lock is its process's
    with owned(tmp_path / "run"):
        pass


def test_a_folder_that_stays_empty_is_removed_and_one_with_files_is_not(tmp_path):
    with owned(tmp_path / "a"):
        pass
    assert not (tmp_path / "a").exists()
    with owned(tmp_path / "a"):
        (tmp_path / "a" / "x").touch()
    assert (tmp_path / "a" / "x").exists()


def test_one_call_of_train_owns_its_folder_until_it_ends(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "build_state", tiny.state)
    seen = []

    class Second(Observer):
        def on_start(self, info):
            with pytest.raises(RunFolderInUse):
                loop.train(tiny.config(), info.run_dir)
            seen.append(True)

    config = tiny.config(total_kimg=0.008)
    loop.train(config, tmp_path, observers=[Second()], loader=tiny.Loader(config))
    assert seen == [True]
    with owned(tmp_path):
        pass
