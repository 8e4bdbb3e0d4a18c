"""`fastgan data`: convert, inspect or draw data sets."""

import re
from pathlib import Path

import click

from fastgan.cli.progress import count_bar


class Resolution(click.ParamType):
    """`64` or `WIDTHxHEIGHT` as (height, width)."""

    name = "WxH"

    def convert(self, value, param, ctx) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)(?:[xX×](\d+))?", str(value).strip())
        if match is None or int(match[1]) == 0 or int(match[2] or match[1]) == 0:
            self.fail(f"expected 64 or 64x48 (width x height, pixels), got {value!r}", param, ctx)
        return int(match[2] or match[1]), int(match[1])


@click.group()
def command() -> None:
    """Convert, inspect or draw data sets."""


# fmt: off
@command.command()
@click.argument("src", type=click.Path(exists=True, path_type=Path))
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--resolution", type=Resolution(), show_default="as stored", help="Size to make.")
@click.option("--transform", type=click.Choice(["center-crop"]), show_default="none",
              help="What to do before resizing.")
@click.option("--labels", type=click.Choice(["folders"]), show_default="those of dataset.json",
              help="One class per subfolder.")
@click.option("--max-images", type=click.IntRange(min=1), show_default="all",
              help="At most so many.")
@click.option("--overwrite", is_flag=True, help="Replace DEST where it exists.")
def convert(src, dest, resolution, transform, labels, max_images, overwrite) -> None:
    """Pack the images of SRC (folder or zip) into DEST.zip, ready for training."""
    from fastgan.data import ImageDataset
    from fastgan.data import convert as convert_images

    try:
        with count_bar("converting images") as progress:
            path = convert_images(src, dest, resolution=resolution, transform=transform,
                                  labels=labels, max_images=max_images, overwrite=overwrite,
                                  progress=progress)  # fmt: skip
        _print_info(ImageDataset(path), path)
    except FileExistsError as error:
        raise click.ClickException(f"{error} (--overwrite)") from error
    except (ValueError, FileNotFoundError) as error:
        raise click.ClickException(str(error)) from error
# fmt: on


@command.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--check", is_flag=True, help="Also decode every image.")
def info(path, check) -> None:
    """Say what the data set PATH (folder or zip) holds."""
    from fastgan.data import ImageDataset

    try:
        dataset = ImageDataset(path)
        if check:
            with count_bar("decoding images") as progress:
                dataset.check(progress)
        _print_info(dataset, path)
    except (ValueError, FileNotFoundError) as error:
        raise click.ClickException(str(error)) from error


# fmt: off
@command.command()
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--resolution", type=click.IntRange(8, 2048), default=64, show_default=True,
              help="Pixels on a side.")
@click.option("--count", type=click.IntRange(min=1), default=6000, show_default=True,
              help="How many faces.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Other seeds give other faces.")
@click.option("--overwrite", is_flag=True, help="Replace DEST where it exists.")
def avatars(dest, resolution, count, seed, overwrite) -> None:
    """Draw cartoon faces into DEST.zip, labelled by hair colour."""
    from fastgan.data import ImageDataset
    from fastgan.data.avatars import render_dataset

    try:
        with count_bar("drawing faces") as progress:
            path = render_dataset(dest, resolution, count=count, seed=seed, progress=progress,
                                  overwrite=overwrite)  # fmt: skip
        _print_info(ImageDataset(path), path)
    except (ValueError, FileExistsError) as error:
        raise click.ClickException(str(error)) from error
# fmt: on


def _print_info(dataset, path: Path) -> None:
    from fastgan.data import ImageDataset

    channels, height, width = dataset.image_shape
    colour = {1: "grey", 3: "RGB"}[channels]
    click.echo(f"path        {path}")
    click.echo(f"images      {len(dataset)}")
    click.echo(f"resolution  {width}x{height} {colour}")
    try:
        labelled = ImageDataset(path, use_labels=True)
    except ValueError as error:
        click.echo(f"labels      none: {error}")
    else:
        click.echo(f"labels      {labelled.label_dim} per image (train with --cond true)")
