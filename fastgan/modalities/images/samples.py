# SPDX-License-Identifier: Apache-2.0
"""Images of a run: reals.png, fakes<kimg>.png, progress.gif and spectra.json, and their place in
the report.
"""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan._extras import Extra
from fastgan.atomic import write_atomic
from fastgan.modalities import cards
from fastgan.modalities.gif import GifWriter
from fastgan.modalities.images.grids import (
    choose_grid,
    has_class_rows,
    make_grid,
    order_by_class,
    to_pixels,
)
from fastgan.modalities.images.spectra import Spectra
from fastgan.modalities.pictures import write_picture

__all__ = ["NOUN", "SUFFIX", "make_writer", "section", "write_all", "write_one"]

Image = Extra("PIL.Image", "train")
NOUN = "images"
SUFFIX = ".png"


class _Pictures:
    """Writes the pictures of a run of a model of images [C, H, W].

    A conditional model of few classes shows one row per class, of generated and of real images.
    """

    def __init__(self, run_dir: Path, reals: Tensor, classes: list[int] | None, num_classes: int):
        self._gif, self._run_dir = GifWriter(), run_dir
        self._shape = choose_grid(*reals.shape[2:], len(reals), num_classes)
        self._order = None
        if has_class_rows(len(reals), num_classes):
            self._order = order_by_class(classes, self._shape)
            reals = reals[torch.tensor(self._order)]
        write_picture(run_dir / "reals.png", make_grid(reals, self._shape))
        self._spectra = Spectra(run_dir, reals)

    def write(self, path: Path, x: Tensor, fakes: Sequence[tuple[float, Path]]) -> None:
        if self._order is not None:
            x = x[torch.tensor(self._order)]
        write_picture(path, make_grid(x, self._shape))
        self._spectra.write(path, x, fakes)
        self._gif.forget(path)
        write_atomic(self._run_dir / "progress.gif", self._gif.encode(fakes))


def make_writer(
    config: Any, run_dir: Path, reals: Callable[[int], Tensor], c: Tensor | None, n: int
) -> _Pictures | None:
    """What writes the pictures of a run; reals.png is written at once.

    Args:
        config: `TrainConfig`.
        run_dir: folder of the run.
        reals: n → n real images [n, C, H, W], of the classes c where data have them
            (`data.grid`), else the first ones that the run sees.
        c: [n, c_dim], the classes of a snapshot's images in one-hot code, or None.
        n: the number of images of a snapshot.

    Returns:
        Its `write(path, x, fakes)` writes a snapshot: x [n, C, H, W] into path and into the
        animation, of which `fakes` are the pictures (kimg, path), this one included. None for a
        model of vectors, which has no pictures.
    """
    if not config.is_image_model:
        return None
    num_classes = config.model.c_dim
    classes = c.argmax(1).tolist() if has_class_rows(n, num_classes) else None
    return _Pictures(run_dir, reals(n), classes, num_classes)


def write_one(x: Tensor, stem: Path, config: Any) -> Path:
    """One image as a file of its own.

    Args:
        x: [1, C, H, W].
        stem: path of the file without suffix.
        config: `TrainConfig`.

    Returns:
        The path.

    Raises:
        ValueError: x is no image.
    """
    if x.ndim != 4:
        raise ValueError(
            f"this network generates samples of shape {tuple(x.shape[1:])}, not images [C, H, W]"
        )
    pixels = to_pixels(x)[0]
    picture = Image.fromarray(pixels[:, :, 0] if x.shape[1] == 1 else pixels)
    path = stem.with_name(stem.name + SUFFIX)
    write_picture(path, picture)
    return path


def write_all(x: Tensor, stem: Path, config: Any) -> Path:
    """Images as one picture.

    Args:
        x: [N, C, H, W].
        stem: path of the file without suffix.
        config: `TrainConfig`.

    Returns:
        The path.
    """
    shape = choose_grid(*x.shape[2:], len(x))
    shape = dataclasses.replace(shape, rows=-(-len(x) // shape.cols))
    path = stem.with_name(stem.name + SUFFIX)
    write_picture(path, make_grid(x, shape))
    return path


def section(
    folder: Path, files: Collection[str], fakes: Sequence[tuple[float, str]]
) -> tuple[str, str]:
    """HTML of the report: the newest pictures, and the progress of the run.

    Args:
        folder: of the run.
        files: names of what is in it.
        fakes: (kimg, file name) of every picture of fakes, oldest first.

    Returns:
        What is shown above the curves, and what below them; "" for nothing.
    """
    above, _ = cards.beside_reals(
        "Pictures", files, fakes, reals="reals.png", reals_title="Training images"
    )
    has_gif = "progress.gif" in files
    return above, cards.progress("progress.gif", fakes) if has_gif else ""
