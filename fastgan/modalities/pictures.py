# SPDX-License-Identifier: Apache-2.0
"""Pictures: of a data set, given by a person, and written as PNG that are never half a file."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan.atomic import write_atomic
from fastgan.data import default_dataset
from fastgan.data.image_codec import decode
from fastgan.data.image_names import SUFFIXES
from fastgan.modalities.input_files import input_files

__all__ = [
    "AVATAR_RESOLUTION",
    "check_size",
    "data_or_avatars",
    "pictures_at",
    "read_pictures",
    "write_picture",
]

AVATAR_RESOLUTION = 32  # pixels, of the avatars that small networks learn


def data_or_avatars(
    path: str | None, resolution: tuple[int, int] | None
) -> tuple[str | Path, tuple[int, int] | None]:
    """The data set that is meant, which is the avatars where none is named.

    Args:
        path: of a data set, or None.
        resolution: (height, width) that was asked for, or None.

    Returns:
        The path, and the resolution at which it is to be opened: None is its own.
    """
    if path is not None:
        return path, resolution
    resolution = resolution or (AVATAR_RESOLUTION, AVATAR_RESOLUTION)
    return default_dataset(max(resolution)), resolution


def pictures_at(images: Any, places: np.ndarray) -> Tensor:
    """Pictures of a data set.

    Args:
        images: of `fastgan.data.open_images`.
        places: int64 [n].

    Returns:
        float32 [n, C, H, W] in [-1, 1].
    """
    pixels = np.stack([images[int(place)][0] for place in places])
    return torch.from_numpy(pixels).float() / 127.5 - 1


def check_size(images: Any, size: tuple[int, int]) -> None:
    """Compare the size of a data set's pictures with a model's.

    Args:
        images: of `fastgan.data.open_images`.
        size: (height, width) of the model.

    Raises:
        ValueError: they are not the same.
    """
    if images.image_shape[1:] != size:
        raise ValueError(
            f"train: the model makes pictures of {size} (height, width), but those of {images.path}"
            f" have {images.image_shape[1:]}; use pictures of one size"
        )


def read_pictures(
    path: Path, *, resolution: tuple[int, int] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Read a picture, or those of a folder, one after another.

    Args:
        path: a file of a kind that `fastgan.data` reads, or a folder of them.
        resolution: (height, width), to which pictures are cropped and resized; None: as they are.

    Yields:
        (name, float32 [1, 3, H, W] in [-1, 1]), as `input_files` names them.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: as `input_files`, or a file that is no picture.
    """
    for name, file in input_files(path, SUFFIXES):
        pixels = decode(file.read_bytes(), str(file), channels=3, resolution=resolution)
        yield name, torch.from_numpy(pixels)[None].float() / 127.5 - 1


def write_picture(path: Path, picture: Any) -> None:
    """Write a PIL picture as PNG.

    Args:
        path: of the file, which is whole or as it was.
        picture: `PIL.Image.Image`.
    """
    out = io.BytesIO()
    picture.save(out, "PNG")
    write_atomic(path, out.getvalue())
