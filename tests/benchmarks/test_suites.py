# SPDX-License-Identifier: Apache-2.0
"""The pytest-benchmark suites take every case file by its name, so that none has to be listed."""

import os
import subprocess
import sys
from pathlib import Path

from fastgan.bench.case_files import KINDS, case_files

ROOT = Path(__file__).parents[2]


def test_every_case_file_is_in_its_suite():
    command = [sys.executable, "-m", "pytest", "benchmarks", "--collect-only", "-q"]
    options = ["--every-case", "-p", "no:cacheprovider"]
    # pytest-benchmark, where it is installed, warns inside a worker of pytest-xdist
    own = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, timeout=300, env=own
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in KINDS:
        found = [line for line in done.stdout.splitlines() if f"bench_{kind}.py::" in line]
        files = {line.partition("[")[2].split()[0] for line in found}
        assert files == set(case_files(kind))
