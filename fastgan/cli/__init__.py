"""The `fastgan` command. A command's module is imported only when that command is called."""

import importlib
import os

import click

from fastgan._version import __version__

_COMMANDS = {
    "train": "Train a GAN; with no options, on cartoon faces drawn on this machine.",
    "generate": "Write images of a trained network.",
    "evaluate": "Score a trained network against a data set.",
    "data": "Convert, pack, index, inspect or draw data sets.",
    "import": "Make a run of other projects' trained weights, safely.",
    "export": "Write a run's weights under other projects' names.",
    "onnx": "Write a trained generator for programs without fastgan.",
    "patch": "Run another project's command on these ops.",
    "bench": "Measure the kernels on this machine, checked first, against plain PyTorch.",
    "doctor": "Say which kernels answer on this machine, and why.",
    "build": "Compile the native kernels into the cache.",
}


class _LazyGroup(click.Group):
    """Lists its commands without importing them: `fastgan --help` loads neither torch nor rich."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        # OpenMP threads spin at a barrier for milliseconds, and on shared cores keep the very
        # thread that they wait for from running: a step was seen to take 30 times as long. Not
        # spinning at all halves the speed on idle cores; this lets them sleep after microseconds.
        # Read once, when torch is loaded (libgomp, as in torch's Linux builds).
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        return importlib.import_module(f"fastgan.cli.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fastgan")
def main() -> None:
    """fastgan: GANs trained with fused, twice-differentiable kernels.

    Start with `fastgan train`. Each command explains itself: `fastgan train --help`.
    """
