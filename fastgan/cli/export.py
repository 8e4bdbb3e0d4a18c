"""`fastgan export`: Write a run's weights in the format of another project."""

from pathlib import Path

import click

from fastgan.cli.run_folders import find_checkpoint


@click.command()
@click.argument("network", metavar="latest|RUN|CKPT")
@click.option(
    "--to",
    type=click.Choice(["rosinality", "nvidia"]),
    required=True,
    help="rosinality: a .pt that its code loads; nvidia: a .safetensors with the names "
    "of its state dicts.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="The file to write.",
)
@click.option("--runs", type=click.Path(path_type=Path), default="runs", show_default=True,
              help="Where 'latest' and numbers of runs are looked up.")  # fmt: skip
def command(network: str, to: str, out: Path, runs: Path) -> None:
    """Write a trained network's weights for another project's code."""
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.compat.weights import WeightsError, export_weights
    from fastgan.training.checkpoint.checkpoint import CheckpointError

    try:
        path = find_checkpoint(network, runs, flag="NETWORK")
        export_weights(path, out, to)
    except (WeightsError, CheckpointError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out} has the weights of {path}")
