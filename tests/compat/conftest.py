# SPDX-License-Identifier: Apache-2.0
import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parent))  # for foreign_files


@pytest.fixture
def cli(tmp_path):
    """cli(*words, code=0): `fastgan ...` in this process, in an empty folder."""

    def run(*words: object, code: int = 0) -> Result:
        from fastgan.cli import main

        before = Path.cwd()
        os.chdir(tmp_path)
        try:
            result = CliRunner().invoke(main, [str(word) for word in words])
        finally:
            os.chdir(before)
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def reader_here(monkeypatch):
    """Files are read in this process, without the limits of the other one: start-up costs seconds.
    For files that tests make and that mean no harm."""
    from fastgan.compat.weights import child

    def run(line, **_options):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), monkeypatch.context() as here:
            here.setattr(sys, "argv", line[2:])
            here.setattr(sys, "path", [*sys.path])
            here.setattr(child, "limit", lambda _size: None)
            code = child.main()
        return subprocess.CompletedProcess(line, code, "", said.getvalue())

    monkeypatch.setattr(subprocess, "run", run)
