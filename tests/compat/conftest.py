import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastgan.cli import main

sys.path.insert(0, str(Path(__file__).parent))  # for foreign_files


@pytest.fixture
def cli(tmp_path):
    """cli(*words, code=0): `fastgan ...` in this process, in an empty folder."""

    def run(*words: object, code: int = 0) -> Result:
        before = Path.cwd()
        os.chdir(tmp_path)
        try:
            result = CliRunner().invoke(main, [str(word) for word in words])
        finally:
            os.chdir(before)
        assert result.exit_code == code, result.output
        return result

    return run
