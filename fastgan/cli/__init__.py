# SPDX-License-Identifier: Apache-2.0
"""The `fastgan` command. A command's module is imported only when that command is called.

A file of this folder, or of a folder of it, is a command if its docstring begins with
"`fastgan NAME`: what it does"; it then has a click command called `command`. There is no list of
commands.
"""

import errno
import importlib
import os
import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import click

from fastgan._extras import MissingPackageError
from fastgan._version import __version__
from fastgan.environment import SettingError
from fastgan.memory import keep_freed_memory

_ADVICE = {
    errno.ENOSPC: "; free space there, or name another folder",
    errno.EACCES: "; name a folder in which you may write and read",
    errno.EROFS: "; name a folder in which you may write",
}
_HIDDEN = ("Cc", "Cf", "Cs")  # control characters, directions of text, halves of surrogates
_HEAD = re.compile(r'"""`fastgan (?P<name>[a-z]+)`: (?P<summary>.+?\.)(?:"""|\s)')


@cache
def command_files() -> dict[str, tuple[str, str]]:
    """{name of a command: (its module, its one-line summary)}, sorted, read without importing."""
    found = {}
    folder = Path(__file__).parent
    for path in (*folder.glob("[!_]*.py"), *folder.glob("[!_]*/[!_]*.py")):
        with path.open(encoding="utf-8") as file:
            match = _HEAD.match(next((line for line in file if not line.startswith("#")), ""))
        if match is not None:
            module = ".".join(path.relative_to(folder).with_suffix("").parts)
            found[match["name"]] = (f"fastgan.cli.{module}", match["summary"])
    return dict(sorted(found.items()))


def with_home(arg: str) -> str:
    """The argument with the person's home folder for a leading "~".

    Shells expand `--outdir ~/runs` and not `--outdir=~/runs`, which would make a folder called "~".
    A folder that has this name is `./~`.
    """
    option, equals, value = arg.partition("=") if arg.startswith("--") else ("", "", arg)
    return option + equals + (os.path.expanduser(value) if value.startswith("~") else value)  # noqa: PTH111


class _LazyGroup(click.Group):
    """Lists its commands without importing them: `fastgan --help` loads neither torch nor rich."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [with_home(arg) for arg in args])

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(command_files())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in command_files():
            return None
        # OpenMP threads spin at a barrier for milliseconds, and on shared cores keep the very
        # thread that they wait for from running: a step was seen to take 30 times as long. Not
        # spinning at all halves the speed on idle cores; this lets them sleep after microseconds.
        # Read once, when torch is loaded (libgomp, as in torch's Linux builds).
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        module, _ = command_files()[cmd_name]
        return importlib.import_module(module).command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Freed memory stays in the process while a command runs a network on batch after batch.

        `fastgan evaluate` of 256 samples of 32×32 (one thread of a Xeon with AVX-512) took 9.4
        seconds of CPU time so, and 18.7 with glibc's default, page faults being the rest; the peak
        of resident memory was the same. `fastgan train` has an option for it.
        """
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None:
            options = {parameter.name for parameter in command.params}
            if "device" in options and "keep_memory" not in options:
                ctx.with_resource(keep_freed_memory())
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (MissingPackageError, SettingError) as error:
            raise click.ClickException(str(error)) from error
        except (BrokenPipeError, ConnectionError):
            raise  # click's own, where the reader of the output has gone
        except OSError as error:
            raise click.ClickException(named(error)) from error
        except click.ClickException as error:
            error.message = printable(error.message)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in command_files().items()])


def named(error: OSError) -> str:
    """The file and what the system said of it, for a person."""
    if error.filename is None or error.strerror is None:
        return printable(str(error))
    advice = _ADVICE.get(error.errno, "")
    return printable(f"{error.filename}: {error.strerror}{advice}")


def printable(text: str) -> str:
    """Text whose control characters, such as those of a file's name, reach no terminal."""
    return "".join(
        f"\\u{ord(c):04x}" if unicodedata.category(c) in _HIDDEN and c not in "\n\t" else c
        for c in text
    )


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fastgan")
def main() -> None:
    """fastgan: train GANs with fused, twice-differentiable kernels.

    Start with `fastgan train`: without options it trains on cartoon faces that it draws on this
    machine. `fastgan COMMAND --help` describes a command and its options.
    """
