"""The pictures of a run folder: reals.png, fakes<kimg>.png and progress.gif."""

import io
from pathlib import Path

import torch

from fastgan._extras import Extra
from fastgan.atomic import write_atomic
from fastgan.training.loop.observer import Observer, RunInfo, Snapshot
from fastgan.training.loop.run_files import fakes_name, list_fakes
from fastgan.training.loop.sampling import sample_grid
from fastgan.training.report.gif import GifWriter
from fastgan.training.report.grids import (
    GridShape,
    choose_grid,
    has_class_rows,
    make_grid,
    order_by_class,
)
from fastgan.training.step.state import TrainState

Image = Extra("PIL.Image", "train")


class Pictures(Observer):
    """Writes the run's pictures: reals once, a grid of G_ema's fakes and the GIF per snapshot.

    A run that ends between snapshots gets a last grid. A conditional model of few classes shows
    one row per class. A model of samples that are not images [C, H, W] gets no pictures.
    """

    def __init__(self) -> None:
        self._gif = GifWriter()
        self._state: TrainState | None = None
        self._run_dir = Path()
        self._shape: GridShape | None = None
        self._order: list[int] | None = None
        self._last_nimg = -1

    def on_start(self, info: RunInfo) -> None:
        self._state, self._run_dir, self._last_nimg = info.state, info.run_dir, info.state.nimg
        if not info.config.is_image_model:
            return
        num_images, num_classes = len(info.state.grid_z), info.config.model.c_dim
        reals = info.reals(num_images)  # [N, C, H, W]
        height, width = reals.shape[2:]
        self._shape = choose_grid(height, width, num_images, num_classes)
        if has_class_rows(num_images, num_classes):
            classes = info.state.grid_c.argmax(1).tolist()
            self._order = order_by_class(classes, self._shape)
        write_picture(info.run_dir / "reals.png", make_grid(reals, self._shape))

    def on_snapshot(self, snapshot: Snapshot) -> None:
        self._write(snapshot.images)

    def on_end(self, reason: str) -> None:
        is_saved = reason in ("finished", "interrupted")
        if is_saved and self._state is not None and self._state.nimg != self._last_nimg:
            self._write(self._run_dir / fakes_name(self._state.kimg))

    def _write(self, path: Path) -> None:
        self._last_nimg = self._state.nimg
        if self._shape is None:
            return
        images = sample_grid(self._state)  # [N, C, H, W]
        if self._order is not None:
            images = images[torch.tensor(self._order)]
        write_picture(path, make_grid(images, self._shape))
        self._gif.forget(path)
        write_atomic(self._run_dir / "progress.gif", self._gif.encode(list_fakes(self._run_dir)))


def write_picture(path: Path, picture: "Image.Image") -> None:
    """Write `picture` as PNG so that `path` is never half a file."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    write_atomic(path, out.getvalue())
