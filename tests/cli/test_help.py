# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import click
import pytest

import fastgan.cli
from fastgan.cli import command_files, main, with_home

NO_HEAVY = """
import sys
from fastgan.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
heavy = {"torch", "rich", "PIL", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["train"],
        ["generate"],
        ["data", "convert"],
        ["bench", "step"],
        ["doctor"],
        ["patch"],
        ["import"],
        ["mix"],
        ["project"],
    ],
)
def test_help_loads_nothing_heavy(command):
    done = subprocess.run(
        [sys.executable, "-c", NO_HEAVY, *command, "--help"], capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


def test_help_lists_every_command(cli):
    output = cli("--help").output

    assert all(name in output for name in command_files())


def test_every_file_with_a_command_is_found():
    folder = Path(fastgan.cli.__file__).parent
    files = {p.stem for p in folder.rglob("*.py") if "\ndef command(" in p.read_text("utf-8")}
    assert {module.rpartition(".")[2] for module, _ in command_files().values()} == files


@pytest.mark.parametrize("name", command_files())
def test_every_option_of_a_command_has_help_and_shows_its_default(cli, name):
    command = main.get_command(None, name)
    for path, one in [([name], command), *(([name, sub], c) for sub, c in subcommands(command))]:
        text = cli(*path, "--help").output
        assert "Usage:" in text
        options = [p for p in one.params if isinstance(p, click.Option)]
        assert all(option.help for option in options)
        shown = [p.name for p in options if not p.is_flag and not p.required]
        assert all(p.show_default for p in options if p.name in shown), path
        flags = [p for p in options if p.is_flag and p.show_default]
        assert " ".join(text.split()).count("[default:") == len(shown) + len(flags), path


def subcommands(command):
    return command.commands.items() if isinstance(command, click.Group) else ()


def test_an_unknown_command_is_refused(cli):
    assert "No such command 'trian'" in cli("trian", code=2).output


def test_the_home_folder_is_expanded_where_shells_leave_it(monkeypatch):
    monkeypatch.setenv("HOME", "/home/a")
    given = ["--outdir=~/runs", "~/x", "--a=b~", "b~", "./~", "--flag", "~"]
    want = ["--outdir=/home/a/runs", "/home/a/x", "--a=b~", "b~", "./~", "--flag", "/home/a"]
    assert [with_home(arg) for arg in given] == want
