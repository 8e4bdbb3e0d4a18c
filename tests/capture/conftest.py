# SPDX-License-Identifier: Apache-2.0
"""The lint runs in processes of its own: its fake CUDA device must be there before torch is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))  # fake_cuda and planted, as in those processes

import fake_cuda  # noqa: E402


@pytest.fixture(scope="session")
def lint():
    """lint("lint_table.py", *arguments) → (exit code, what it printed as JSON)."""
    if reason := fake_cuda.unavailable():
        pytest.skip(reason)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(script: str, *arguments: str) -> tuple[int, list[dict]]:
        command = [sys.executable, "-W", "error", str(FOLDER / script), *arguments]
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, timeout=7200
        )
        if not done.stdout:
            pytest.fail(f"{script} exited with {done.returncode} and printed nothing; see stderr")
        return done.returncode, json.loads(done.stdout)

    return run
