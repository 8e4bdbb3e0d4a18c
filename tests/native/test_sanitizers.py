# SPDX-License-Identifier: Apache-2.0
"""The kernels under sanitizers; each check is also a command, see sanitize.py."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import sanitize


@pytest.mark.slow
@pytest.mark.parametrize("name", sanitize.CHECKS)
def test_finds_nothing(name):
    command = [sys.executable, sanitize.__file__, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
