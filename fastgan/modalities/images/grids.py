# SPDX-License-Identifier: Apache-2.0
"""Grids of images: how many tiles, how large, and the picture itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fastgan._extras import Extra

Image = Extra("PIL.Image", "train")
_WIDTH = 960
_HEIGHT = 720
_SMALL_TILE = 96
_GAP = 2
_BACKGROUND = (128, 128, 132)
_LEAST_PER_CLASS = 4


@dataclass(frozen=True, kw_only=True)
class GridShape:
    """`rows` x `cols` tiles, each an image enlarged `scale` times (an integer)."""

    rows: int
    cols: int
    scale: int

    @property
    def num_images(self) -> int:
        return self.rows * self.cols


def choose_grid(height: int, width: int, num_images: int, num_classes: int = 0) -> GridShape:
    """Tiles for `num_images` images of `height` x `width` pixels, in about 960 x 720 pixels.

    Images narrower than 96 px are enlarged by the smallest integer that brings them there; of
    512 px and more, two stand in a row, in a larger picture. With `num_classes` > 0 and at least
    four images of each, there is one row per class instead, however tall that is. There are never
    more tiles than images.
    """
    for name, value in (("height", height), ("width", width), ("num_images", num_images)):
        if value < 1:
            raise ValueError(f"choose_grid: {name} must be at least 1, got {value}")
    scale = max(1, -(-_SMALL_TILE // max(height, width)))
    cols = min(num_images, max(2, _WIDTH // (width * scale + _GAP)))
    if has_class_rows(num_images, num_classes):
        return GridShape(rows=num_classes, cols=min(cols, num_images // num_classes), scale=scale)
    rows = min(num_images // cols, max(1, _HEIGHT // (height * scale + _GAP)))
    return GridShape(rows=rows, cols=cols, scale=scale)


def has_class_rows(num_images: int, num_classes: int) -> bool:
    """Whether a grid of `num_images` images shows one row per class."""
    return num_classes > 1 and num_images // num_classes >= _LEAST_PER_CLASS


def order_by_class(classes: Sequence[int], shape: GridShape) -> list[int]:
    """Indices into `classes` so that row r of the grid holds the first images of class r.

    Where a class has too few images for its row, they are repeated; ValueError if it has none.
    """
    chosen: list[int] = []
    for wanted in range(shape.rows):
        members = [index for index, found in enumerate(classes) if found == wanted]
        if not members:
            raise ValueError(
                f"order_by_class: classes must hold every class from 0 to {shape.rows - 1}, "
                f"got none of class {wanted}; show the images in their own order instead"
            )
        chosen += [members[col % len(members)] for col in range(shape.cols)]
    return chosen


def to_pixels(images: torch.Tensor | np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] from [N, C, H, W]: float in [-1, 1] (clipped, rounded) or uint8 as it is.

    One channel becomes grey, two become red and green, and of more than three the first three are
    shown. Non-finite values become mid-grey: a picture of a broken run must still be a picture.
    """
    x = images.detach().cpu() if isinstance(images, torch.Tensor) else torch.from_numpy(images)
    if x.ndim != 4:
        raise ValueError(f"to_pixels: images must be [N, C, H, W], got shape {tuple(x.shape)}")
    if x.dtype != torch.uint8:
        x = torch.where(torch.isfinite(x), x, torch.zeros_like(x)).float()
        x = (x * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    elif x.shape[1] == 2:
        x = torch.cat([x, torch.zeros_like(x[:, :1])], dim=1)
    return x[:, :3].permute(0, 2, 3, 1).contiguous().numpy()  # [N, H, W, 3]


def make_grid(images: torch.Tensor | np.ndarray, shape: GridShape) -> "Image.Image":
    """One RGB picture of the first `shape.num_images` images, row by row; missing tiles stay blank.

    Tiles are enlarged pixel by pixel (nearest), so what is seen is what the network made.
    """
    pixels = to_pixels(images)[: shape.num_images]  # [N, H, W, 3]
    height, width = (size * shape.scale for size in pixels.shape[1:3])
    size = (shape.cols * (width + _GAP) - _GAP, shape.rows * (height + _GAP) - _GAP)
    picture = Image.new("RGB", size, _BACKGROUND)
    for index, tile in enumerate(pixels):
        row, col = divmod(index, shape.cols)
        enlarged = Image.fromarray(tile).resize((width, height), Image.Resampling.NEAREST)
        picture.paste(enlarged, (col * (width + _GAP), row * (height + _GAP)))
    return picture


def make_sheet(columns: Sequence[torch.Tensor], rows: int) -> "Image.Image":
    """A picture of corresponding images side by side.

    Args:
        columns: each [N, C, H, W] in [-1, 1]; the i-th images of all stand beside each other.
        rows: of the sheet; N / rows of the groups are in each.

    Returns:
        A `PIL.Image.Image`, images of less than 96 px enlarged by an integer.
    """
    tiles = torch.stack([column.detach().float().cpu() for column in columns], 1)
    scale = max(1, _SMALL_TILE // max(tiles.shape[3:]))
    shape = GridShape(rows=rows, cols=len(tiles) // rows * len(columns), scale=scale)
    return make_grid(tiles.flatten(0, 1), shape)
