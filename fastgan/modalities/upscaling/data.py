# SPDX-License-Identifier: Apache-2.0
"""Pairs of a picture and its low-resolution picture, of any images that `open_images` reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from fastgan.data import open_images
from fastgan.data.avatars import DEFAULT_COUNT
from fastgan.modalities.modality import DataFacts
from fastgan.modalities.pictures import (
    AVATAR_RESOLUTION,
    check_size,
    data_or_avatars,
    pictures_at,
    read_pictures,
)

__all__ = ["BUILT_IN", "Pairs", "conditions", "describe", "grid", "inputs", "open_data", "shrink"]

BUILT_IN = "avatars"
_HELD_OUT = 10  # every so many pictures, one is kept for the metrics and the samples
_SCALE = 4
_SHOWN = 12


def shrink(x: Tensor) -> Tensor:
    """The low-resolution pictures: the mean of each square of 4 x 4 pixels.

    Args:
        x: [N, 3, H, W].

    Returns:
        [N, 3, H / 4, W / 4].
    """
    return F.avg_pool2d(x, _SCALE)


class Pairs:
    """High-resolution pictures x, and c that was made of them; a tenth of them is held out.

    Args:
        images: of `fastgan.data.open_images`.
        indices: int64, of the pictures that belong to this part.
        held_out: the other part; None: this is it.

    Attributes:
        held_out: the held-out tenth; of itself, itself.
    """

    def __init__(self, images: Any, indices: np.ndarray, held_out: "Pairs | None" = None) -> None:
        self._images, self._indices = images, indices
        self.name, self.path, self.held_out = images.name, images.path, held_out or self

    def __len__(self) -> int:
        return len(self._indices)

    def batch(self, indices: np.ndarray, uniform: np.ndarray) -> tuple[Tensor, Tensor]:
        """Some pairs.

        Args:
            indices: int64 [B].
            uniform: not used.

        Returns:
            (float32 [B, 3, H, W] in [-1, 1], float32 [B, 3, H / 4, W / 4]).
        """
        x = pictures_at(self._images, self._indices[indices])
        return x, shrink(x)


def _open(data: Any, resolution: tuple[int, int] | None) -> Any:
    path, resolution = data_or_avatars(data.path, resolution)
    images = open_images(path, resolution=resolution, use_labels=False, max_images=data.max_images)
    if len(images) < 2 * _HELD_OUT or images.image_shape[0] != 3:
        raise ValueError(
            f"Pairs: {path} has {len(images)} pictures of {images.image_shape[0]} channels, and at "
            f"least {2 * _HELD_OUT} of 3 channels (RGB) are needed"
        )
    return images


def describe(data: Any) -> DataFacts:
    """What the pictures tell a recipe: their size; of avatars it is known before they are drawn.

    Args:
        data: `DataConfig`.

    Returns:
        Arguments are height and width.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a damaged or unknown file, too few pictures, or others than RGB.
    """
    if data.path is None:
        height, width = data.resolution or (AVATAR_RESOLUTION, AVATAR_RESOLUTION)
        name, count, lines = f"{BUILT_IN}{width}", DEFAULT_COUNT, ()
    else:
        images = _open(data, data.resolution)
        _, height, width = images.image_shape
        name, count = images.name, len(images)
        lines = (
            f"data        {data.path}: {count} pictures of {width}x{height} pixels; a tenth of "
            "them is held out",
        )
    return DataFacts(
        arguments={"height": height, "width": width},
        name=name,
        count=min(data.max_images or count, count),
        num_bytes=3 * height * width * count,
        lines=lines,
    )


def open_data(data: Any, model: Any) -> Pairs:
    """The pairs, checked against the model.

    Args:
        data: `DataConfig`.
        model: the architecture's Config, with height and width.

    Returns:
        The training pairs; their `held_out` are the others.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: as `describe`, or pictures of another size than the model's.
    """
    size = (model.height, model.width)
    images = _open(data, data.resolution or (size if data.path is None else None))
    check_size(images, size)
    order = np.random.RandomState(0).permutation(len(images))  # its sequence never changes
    count = len(images) // _HELD_OUT
    return Pairs(images, order[count:], Pairs(images, order[:count]))


def grid(dataset: Pairs, n: int) -> tuple[Tensor, Tensor]:
    """The held-out pairs that every snapshot shows.

    Args:
        dataset: the pairs, or their held-out part.
        n: the most that are asked for.

    Returns:
        (x, c) of at most 12 pairs.
    """
    count = min(n, len(dataset.held_out), _SHOWN)
    return dataset.held_out.batch(np.arange(count), np.zeros((count, 4)))


def conditions(dataset: Pairs, indices: np.ndarray) -> Tensor:
    """The low-resolution pictures of held-out pairs.

    Args:
        dataset: the pairs, or their held-out part.
        indices: int64 [n], of held-out pairs.

    Returns:
        float32 [n, 3, H / 4, W / 4].
    """
    held_out = dataset.held_out
    return held_out.batch(indices % len(held_out), np.zeros((len(indices), 4)))[1]


def inputs(path: Path, data: Any, model: Any) -> Iterator[tuple[str, Tensor]]:
    """Conditions of files that a person gives, for `fastgan generate --input`.

    Args:
        path: a picture of any size, or a folder of them; they are enlarged as they are.
        data: `DataConfig` of the run.
        model: the architecture's Config.

    Yields:
        (name, float32 [1, 3, h, w] in [-1, 1]).

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: no picture, or two files of one name.
    """
    yield from read_pictures(path)
