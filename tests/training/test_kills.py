# SPDX-License-Identifier: Apache-2.0
"""kill -9: see kill_runs.py, which runs in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_runs_lose_an_interval_at_most_and_end_as_if_never_killed(kills):
    script = Path(__file__).with_name("kill_runs.py")
    done = subprocess.run(
        [sys.executable, script, "--kills", str(kills)], capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False, timeout=180 + 7 * kills,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{kills} kills, ")
    assert "0 broken checkpoints" in done.stdout
