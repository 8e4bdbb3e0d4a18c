"""`fastgan import`: other projects' weights as a run."""

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="The run folder to make; must not exist.")  # fmt: skip
def command(file: Path, out: Path) -> None:
    """Make a run of the weights in FILE, from which `fastgan generate --network DIR` draws.

    FILE: a .pkl of stylegan2-ada-pytorch, stylegan3 or R3GAN, or a .pt of rosinality's
    stylegan2-pytorch. Nothing that the file holds is run.
    """
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.compat.weights import WeightsError, import_weights

    try:
        done = import_weights(file, out)
    except (WeightsError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"architecture  {done.architecture}")
    click.echo(f"networks      {', '.join(done.networks)}")
    click.echo(f"source        {file.name}, SHA-256 {done.sha256}")
    click.echo(f"terms         {done.terms}")
    click.echo(f"{out} is a run now: fastgan generate --network {out}")
