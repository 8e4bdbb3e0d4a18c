"""`fastgan data`: Convert, pack, index, inspect or draw data sets."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import click

from fastgan.cli.progress_bar import count_bar


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
    """Convert, pack, index, inspect or draw data sets."""


# fmt: off
_READING = (
    click.argument("src", type=click.Path(exists=True, path_type=Path)),
    click.argument("dest", type=click.Path(path_type=Path)),
    click.option("--resolution", type=Resolution(), show_default="as stored", help="Size to make."),
    click.option("--transform", type=click.Choice(["center-crop"]), show_default="none",
                 help="What to do before resizing."),
    click.option("--labels", type=click.Choice(["folders"]), show_default="those of dataset.json",
                 help="One class per subfolder."),
    click.option("--max-images", type=click.IntRange(min=1), show_default="all",
                 help="At most so many."),
    click.option("--overwrite", is_flag=True, help="Replace DEST where it exists."),
)
# fmt: on


def _reading(function):
    """The arguments of the commands that decode SRC into DEST."""
    for decorate in reversed(_READING):
        function = decorate(function)
    return function


@command.command()
@_reading
def convert(src, dest, **options) -> None:
    """Write the images of SRC (folder, zip or tars) into DEST.zip, ready for training."""
    from fastgan.data import convert as convert_images

    with _errors(), count_bar("converting images") as progress:
        path = convert_images(src, dest, **options, progress=progress)
    _print_info(path)


@command.command()
@_reading
def pack(src, dest, **options) -> None:
    """Decode the images of SRC (folder, zip or tars) once into DEST.fgpack.

    Training maps that file instead of decoding: for data sets too large for memory. It is as large
    as the pixels, height x width x channels bytes an image; how much that is, is said first.
    """
    from fastgan.data import pack as pack_images

    def announce(needed: int, free: int) -> None:
        click.echo(f"size        {needed / 2**30:.3f} GiB of {free / 2**30:.1f} GiB free")

    with _errors(), count_bar("packing images") as progress:
        path = pack_images(src, dest, **options, announce=announce, progress=progress)
    _print_info(path)


@command.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def index(path) -> None:
    """Write NAME.tar.index beside a .tar, or beside every .tar of the folder PATH.

    Tars in webdataset's layout train without it; with it, opening a million images takes seconds.
    """
    from fastgan.data.tar_shards import index_tars

    with _errors(), count_bar("indexing tars") as progress:
        written = index_tars(path, progress)
    click.echo(f"indexes     {len(written)} written, {written[0]} and on")


@command.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--check", is_flag=True, help="Also decode every image, or verify every hash.")
def info(path, check) -> None:
    """Say what the data set PATH (folder, zip, tars or .fgpack) holds."""
    from fastgan.data import open_images

    if check:
        with _errors(), count_bar("checking images") as progress:
            open_images(path).check(progress)
    _print_info(path)


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
    from fastgan.data.avatars import render_dataset

    with _errors(), count_bar("drawing faces") as progress:
        path = render_dataset(dest, resolution, count=count, seed=seed, progress=progress,
                              overwrite=overwrite)  # fmt: skip
    _print_info(path)
# fmt: on


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise click.ClickException(f"{error} (--overwrite)") from error
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _print_info(path: Path) -> None:
    from fastgan.data import PackedDataset, open_images

    with _errors():
        dataset = open_images(path)
    channels, height, width = dataset.image_shape
    colour = {1: "grey", 3: "RGB"}[channels]
    click.echo(f"path        {path}")
    click.echo(f"images      {len(dataset)}")
    click.echo(f"resolution  {width}x{height} {colour}")
    if isinstance(dataset, PackedDataset):
        click.echo(f"sha256      {dataset.digest}")
    try:
        labelled = open_images(path, use_labels=True)
    except ValueError as error:
        click.echo(f"labels      none: {error}")
    else:
        click.echo(f"labels      {labelled.label_dim} per image (train with --cond true)")
