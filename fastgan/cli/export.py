# SPDX-License-Identifier: Apache-2.0
"""`fastgan export`: Write a run's weights in the format of another project."""

from pathlib import Path

import click

from fastgan.cli.run_folders import find_checkpoint
from fastgan.cli.shared_options import network_argument, runs_option


@click.command()
@network_argument
@click.option(
    "--to",
    type=click.Choice(["rosinality", "nvidia", "hifigan", "bigvgan"]),
    required=True,
    help="rosinality: a .pt file that rosinality/stylegan2-pytorch loads. nvidia: a .safetensors "
    "file with the parameter names of NVIDIA's networks. hifigan, bigvgan: a g_* file of these.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="File to write.",
)
@runs_option
def command(network: str, to: str, out: Path, runs: Path) -> None:
    """Write the weights of NETWORK in the format of another project.

    NETWORK is 'latest' or the number of a run in --runs, or the path of a run folder or of a
    checkpoint. For hifigan and bigvgan it is the folder of a vocoder.
    """
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.compat.weights import WeightsError, export_weights
    from fastgan.training.checkpoint.checkpoint import CheckpointError

    try:
        is_vocoder = to in ("hifigan", "bigvgan")
        path = Path(network) if is_vocoder else find_checkpoint(network, runs, flag="NETWORK")
        notes = export_weights(path, out, to)
    except (WeightsError, CheckpointError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"The weights of {path} are written to {out}.")
    for note in notes:
        click.echo(f"Note: {note}.")
