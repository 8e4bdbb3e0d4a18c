import subprocess
import sys

import pytest

from fastgan.cli import command_files

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
    ],
)
def test_help_loads_nothing_heavy(command):
    done = subprocess.run(
        [sys.executable, "-c", NO_HEAVY, *command, "--help"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr


def test_help_lists_every_command(cli):
    output = cli("--help").output

    assert all(name in output for name in command_files())


@pytest.mark.parametrize("name", command_files())
def test_every_command_explains_itself(cli, name):
    assert "Usage:" in cli(name, "--help").output


def test_every_train_flag_shows_its_default(cli):
    from fastgan.cli.train import command

    words = " ".join(cli("train", "--help").output.split())
    for parameter in command.params:
        if parameter.name != "dry_run":
            assert parameter.show_default, parameter.name
    assert words.count("[default:") == len(command.params) - 1


def test_an_unknown_command_is_refused(cli):
    assert "No such command 'trian'" in cli("trian", code=2).output
