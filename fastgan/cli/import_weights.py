"""`fastgan import`: Convert the trained weights of another project into a run folder."""

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="Folder to write; it must not exist.")  # fmt: skip
@click.option("--as", "kind", type=click.Choice(
              ["stylegan2", "stylegan3", "r3gan", "rosinality", "hifigan", "bigvgan"]),
              show_default="detected",
              help="Architecture that FILE must hold.")  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              show_default="none",
              help="config.json of a vocoder: needed for hifigan and bigvgan.")  # fmt: skip
def command(file: Path, out: Path, kind: str | None, config: Path | None) -> None:
    """Convert the weights in FILE into a run folder, for `fastgan generate --network DIR`.

    FILE is a .pkl file of stylegan2-ada-pytorch, stylegan3 or R3GAN, or a .pt file of rosinality's
    stylegan2-pytorch. It may also be a g_* file of HiFi-GAN or BigVGAN; DIR is then a folder for
    Generator.from_pretrained. No code in the file is run.
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
        click.echo(f"The run folder {out} is written.")
        click.echo(f"To generate images:  fastgan generate --network {out}")
        train = f"fastgan train --cfg {done.architecture} --init-from {out} --data DATA"
        click.echo(f"To train on:         {train}")
    else:
        module = f"fastgan.models.vocoders.{done.architecture}"
        click.echo(f"The folder {out} is written.")
        click.echo(f"To load the generator:  {module}.Generator.from_pretrained({str(out)!r})")
