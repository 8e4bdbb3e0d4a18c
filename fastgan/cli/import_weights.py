"""`fastgan import`: Convert the trained weights of another project into a run folder."""

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="The folder to make; must not exist.")  # fmt: skip
@click.option("--as", "kind", type=click.Choice(
              ["stylegan2", "stylegan3", "r3gan", "rosinality", "hifigan", "bigvgan"]),
              help="What FILE must hold; without it, whichever of these it does.")  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="The config.json beside a vocoder's weights.")  # fmt: skip
def command(file: Path, out: Path, kind: str | None, config: Path | None) -> None:
    """Make a run of the weights in FILE, from which `fastgan generate --network DIR` draws.

    FILE: a .pkl of stylegan2-ada-pytorch, stylegan3 or R3GAN, or a .pt of rosinality's
    stylegan2-pytorch; or a g_* of HiFi-GAN or BigVGAN, of which DIR becomes a folder for
    Generator.from_pretrained. Nothing that the file holds is run.
    """
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.compat.weights import WeightsError, import_weights

    try:
        done = import_weights(file, out, kind=kind, config=config)
    except (WeightsError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"architecture  {done.architecture}")
    click.echo(f"networks      {', '.join(done.networks)}")
    click.echo(f"source        {file.name}, SHA-256 {done.sha256}")
    click.echo(f"terms         {done.terms}")
    if config is None:
        click.echo(f"{out} is a run now: fastgan generate --network {out}")
    else:
        module = f"fastgan.models.vocoders.{done.architecture}"
        click.echo(f"{out} is a network now: {module}.Generator.from_pretrained({str(out)!r})")
