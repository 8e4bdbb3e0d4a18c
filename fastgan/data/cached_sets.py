# SPDX-License-Identifier: Apache-2.0
"""Data sets that this machine makes once, as zips in the cache, and then reuses."""

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from fastgan import environment
from fastgan.atomic import check_may_write

_DAMAGE = (zipfile.BadZipFile, KeyError, TypeError, EOFError, ValueError, NotImplementedError)


def cached_set(name: str, count: int, make: Callable[[Path], object]) -> Path:
    """Path of `<cache_dir>/datasets/<name>.zip`, where cache_dir is `environment.cache_dir()`.

    It is made where it is missing; one that is damaged or incomplete (bad CRC, wrong count) is made
    again, with a warning.

    Args:
        name: of the file without suffix.
        count: number of images that it must have.
        make: make(path) writes it, over a file that may be there.
    """
    path = path_of(name)
    fault = find_fault(path, count) if path.exists() else None
    if fault is not None:
        warnings.warn(f"{path} is damaged ({fault}) and is drawn again", stacklevel=3)
    if fault is not None or not path.exists():
        make_in_cache(path, make)
    return path


def path_of(name: str) -> Path:
    """Of a set in the cache, whether it is there or not."""
    return environment.cache_dir() / "datasets" / f"{name}.zip"


def make_in_cache(path: Path, make: Callable[[Path], object]) -> None:
    """make(path); where the cache folder can't be written, the OSError says how to move it."""
    try:
        make(path)
    except OSError as error:
        folder = environment.cache_dir()
        if not isinstance(error, PermissionError | NotADirectoryError) and folder.is_dir():
            raise
        raise type(error)(
            f"{error.strerror or error}; the environment variable FASTGAN_CACHE_DIR names another "
            f"cache folder in the place of {folder}"
        ) from error


def require_place(path: Path) -> None:
    """Raises `make_in_cache`'s OSError where `path` is missing and can't be made; makes nothing."""
    if not path.exists():
        make_in_cache(path, lambda path: check_may_write(path.parent))


def find_fault(path: str | Path, count: int) -> str | None:
    """What is wrong with the zip at `path`, as a text; None if nothing is.

    Checked: its checksums, and that it has `count` images and as many labels.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            images = sum(name.endswith(".png") for name in archive.namelist())
            labels = len(json.loads(archive.read("dataset.json"))["labels"])
            if not images == labels == count:
                return f"{images} images and {labels} labels instead of {count}"
            bad = archive.testzip()
            return f"wrong checksum of {bad}" if bad else None
    except _DAMAGE as error:
        return str(error)
