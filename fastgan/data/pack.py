# SPDX-License-Identifier: Apache-2.0
"""Pack a folder, zip or tars of images into one file, which training maps without decoding."""

import errno
import shutil
from collections.abc import Callable
from contextlib import closing
from itertools import chain
from pathlib import Path

from fastgan.atomic import make_parents, open_atomic
from fastgan.data.decoded_images import DecodedImages
from fastgan.data.pack_format import SUFFIX, write_pack


def pack(
    src: str | Path,
    dest: str | Path,
    *,
    resolution: tuple[int, int] | int | None = None,
    transform: str | None = None,
    max_images: int | None = None,
    labels: str | None = None,
    skip_broken: bool = False,
    overwrite: bool = False,
    workers: int = 2,
    announce: Callable[[int, int], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_skipped: Callable[[list[str]], None] | None = None,
) -> Path:
    """Decode the images of `src` once and write their pixels to `dest`.

    The file holds N·C·H·W bytes of pixels, labels, names and hashes (`pack_format`); the same
    images give the same bytes. It appears whole or not at all. The other arguments are those of
    `fastgan.data.convert.convert`.

    Args:
        dest: the file to write; it must end in .fgpack.
        announce: called with (bytes that the pixels take, bytes that are free on that disk) before
            anything is written.

    Returns:
        The path of the file.

    Raises:
        OSError: the disk has too little space.
        ValueError: another suffix; else as `convert`.
    """
    dest = Path(dest)
    if dest.suffix.lower() != SUFFIX:
        raise ValueError(f"pack: dest must end in {SUFFIX}, got {dest}")
    decoded = DecodedImages(
        src,
        "pack",
        resolution=resolution,
        transform=transform,
        max_images=max_images,
        labels=labels,
        skip_broken=skip_broken,
    )
    if skip_broken and on_skipped is not None:
        on_skipped(decoded.skipped)
    make_parents(dest)
    with (
        open_atomic(dest, is_durable=True, overwrite=overwrite) as file,
        closing(decoded.pixels(workers, lambda x: x, progress)) as images,
    ):
        first = next(images)
        _require_space(first.nbytes * len(decoded), dest, announce)
        write_pack(
            file,
            (len(decoded), *first.shape),
            chain([first], images),
            decoded.names,
            decoded.labels,
            decoded.label_names,
        )
    return dest


def _require_space(needed: int, dest: Path, announce: Callable[[int, int], None] | None) -> None:
    free = shutil.disk_usage(dest.parent).free
    if announce is not None:
        announce(needed, free)
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"pack: the pixels take {needed / 2**30:.2f} GiB, and {dest.parent} has "
            f"{free / 2**30:.2f} GiB free; choose another disk, a smaller resolution or max_images",
        )
