# SPDX-License-Identifier: Apache-2.0
import ast
import shlex
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import promises

ROWS = promises.rows()
MAKEFILE = (promises.ROOT / "Makefile").read_text(encoding="utf-8")


def names_in(path):
    """The functions and classes of a test file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}


def test_the_document_holds_the_table():
    text = promises.DOCUMENT.read_text(encoding="utf-8")
    new = promises.table(ROWS, promises.figures())
    assert promises.with_table(text, new) == text, "run tests/supply_chain/promises.py --write"


def test_another_figure_or_row_changes_the_document():
    text = promises.DOCUMENT.read_text(encoding="utf-8")
    other = {ROWS[0].command: {"figure": "0 passed", "day": "never", "commit": "none"}}
    for new in (promises.table(ROWS[1:], promises.figures()), promises.table(ROWS, other)):
        assert promises.with_table(text, new) != text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.command)
def test_command_and_planted_bugs_are_there(row):
    program, *words = shlex.split(row.command)
    assert program in ("pytest", "python", "make")
    for word in words if program != "make" else []:
        if word.startswith("tests/"):
            assert (promises.ROOT / word.partition("::")[0]).exists(), word
    if program == "make":
        assert f"\n{words[0]}:" in MAKEFILE
    path, _, name = row.planted.partition("::")
    assert name in names_in(promises.ROOT / path)


def test_a_command_that_fails_or_says_no_figure_is_told(tmp_path):
    row = promises.Promise("p", "python -c 'print(3, \"passed\"); exit(1)'", "")
    with pytest.raises(RuntimeError, match="exit code 1"):
        promises.run(row)
    with pytest.raises(RuntimeError, match="exit code 0"):
        promises.run(row._replace(command="python -c 'print(3)'"))
    assert promises.run(row._replace(command="python -c 'print(3, \"passed\")'")) == "3 passed"
