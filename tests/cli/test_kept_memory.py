# SPDX-License-Identifier: Apache-2.0
"""Commands that run networks keep freed memory while they do, and only then."""

import click
import pytest
from click.testing import CliRunner

from fastgan import memory
from fastgan.cli import main

KEEPING = ("directions", "edit", "evaluate", "generate", "mix", "project", "video")

pytestmark = pytest.mark.skipif(
    memory.policy().why is not None, reason="this allocator has no such policy"
)


def policy_within(name, monkeypatch):
    """The policy while the command of this name runs, which does nothing else."""
    seen = []
    command = main.get_command(click.Context(main), name)
    monkeypatch.setattr(command, "callback", lambda **_: seen.append(memory.policy().name))
    monkeypatch.setattr(command, "params", [p for p in command.params if p.name == "device"])
    if isinstance(command, click.Group):
        monkeypatch.setattr(command, "invoke_without_command", True)
        monkeypatch.setattr(command, "no_args_is_help", False)
    result = CliRunner().invoke(main, [name], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen


@pytest.mark.parametrize("name", KEEPING)
def test_freed_memory_is_kept_within(name, monkeypatch):
    assert policy_within(name, monkeypatch) == ["keep"]
    assert memory.policy().name == "default"


@pytest.mark.parametrize("name", ["data", "doctor", "export"])
def test_other_commands_change_nothing(name, monkeypatch):
    assert policy_within(name, monkeypatch) == ["default"]
