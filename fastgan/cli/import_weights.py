# SPDX-License-Identifier: Apache-2.0
"""`fastgan import`: Convert the trained weights of another project into a run folder."""

from pathlib import Path

import click

from fastgan.cli.shared_options import FiniteRange


def _networks(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]):
    names = tuple(name.strip() for words in given for name in words.split(","))
    return names or None


def _numbers(_context: click.Context, _option: click.Parameter, given: str | None):
    try:
        return None if given is None else tuple(float(word) for word in given.split(","))
    except ValueError as error:
        raise click.BadParameter(f"expected numbers with commas, got {given!r}") from error


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR",
              help="Folder to write; it must not exist.")  # fmt: skip
@click.option("--as", "kind", type=click.Choice(
              ["stylegan2", "stylegan3", "r3gan", "rosinality", "basicsr", "hifigan", "bigvgan"]),
              show_default="detected",
              help="Architecture that FILE must hold.")  # fmt: skip
@click.option("--only", multiple=True, callback=_networks, metavar="G_ema|G|D",
              show_default="all in FILE",
              help="Networks to import, with commas or repeated, a generator among them. "
              "--only G_ema leaves out a discriminator that does not fit.")  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              show_default="none",
              help="config.json of a vocoder: needed for hifigan and bigvgan.")  # fmt: skip
@click.option("--lr-mlp", type=FiniteRange(min=0, min_open=True),
              show_default="as in FILE, else 0.01",
              help="lr_mlp of rosinality's or BasicSR's Generator.")  # fmt: skip
@click.option("--blur-kernel", callback=_numbers, metavar="NUMBERS",
              show_default="as in FILE, else 1,3,3,1",
              help="blur_kernel of rosinality's Generator, for files without kernels.")  # fmt: skip
def command(
    file: Path,
    out: Path,
    kind: str | None,
    only: tuple[str, ...] | None,
    config: Path | None,
    lr_mlp: float | None,
    blur_kernel: tuple[float, ...] | None,
) -> None:
    """Convert the weights in FILE into a run folder, for `fastgan generate --network DIR`.

    FILE is a .pkl file of stylegan2-ada-pytorch, stylegan3 or R3GAN, a .pt file of rosinality's
    stylegan2-pytorch, a .pth file of BasicSR's StyleGAN2, or a .safetensors file of
    `fastgan export --to nvidia`. It may also be a g_* file of HiFi-GAN or BigVGAN; DIR is then a
    folder for Generator.from_pretrained. No code in the file is run.
    """
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.cli.train_config import cfg_for
    from fastgan.compat.weights import WeightsError, import_weights
    from fastgan.training.checkpoint.checkpoint import checkpoint_of, read_config

    try:
        done = import_weights(
            file, out, kind=kind, config=config, only=only, lr_mlp=lr_mlp, blur_kernel=blur_kernel
        )
    except (WeightsError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"architecture  {done.architecture}")
    click.echo(f"networks      {', '.join(done.networks)}")
    click.echo(f"source        {file.name}, SHA-256 {done.sha256}")
    click.echo(f"terms         {done.terms}")
    for note in done.notes:
        click.echo(f"note          {note}")
    if config is None:
        click.echo(f"The run folder {out} is written.")
        click.echo(f"To generate images:  fastgan generate --network {out}")
        cfg = cfg_for(read_config(checkpoint_of(out)))
        train = f"fastgan train --cfg {cfg} --init-from {out} --data DATA"
        click.echo(f"To train on:         {train}")
    else:
        module = f"fastgan.models.vocoders.{done.architecture}"
        click.echo(f"The folder {out} is written.")
        click.echo(f"To load the generator:  {module}.Generator.from_pretrained({str(out)!r})")
