"""Picture files: PNG that are never half a file, and pictures that a person gives."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.atomic import write_atomic
from fastgan.data.image_codec import decode
from fastgan.data.image_names import SUFFIXES
from fastgan.modalities.input_files import input_files

__all__ = ["read_pictures", "write_picture"]


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
