# SPDX-License-Identifier: Apache-2.0
"""Clips as animations: .gif files, and .mp4 where PyAV is installed (the extra "video")."""

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastgan._extras import Extra, require
from fastgan.atomic import write_atomic

__all__ = ["can_write_mp4", "write_gif", "write_mp4"]

Image = Extra("PIL.Image", "train")
_CODEC = "libx264"


def write_gif(path: Path, frames: Sequence[np.ndarray], fps: float) -> None:
    """Write frames as a .gif that loops.

    Args:
        path: of the file, which is whole or as it was.
        frames: one or more uint8 [H, W, 3] of one size.
        fps: frames per second.

    Raises:
        ValueError: when frames are none, or of another form.
    """
    _check("write_gif", frames)
    pictures = [Image.fromarray(frame).quantize(256, dither=0) for frame in frames]
    out = io.BytesIO()
    pictures[0].save(
        out, "GIF", save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0
    )
    write_atomic(path, out.getvalue())


def can_write_mp4() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def write_mp4(path: Path, frames: Sequence[np.ndarray], fps: int) -> None:
    """Write frames as a .mp4 (H.264), which browsers play.

    Args:
        path: of the file, which is whole or as it was.
        frames: one or more uint8 [H, W, 3] of one size; odd sizes lose their last row or column,
            which the codec can't have.
        fps: frames per second.

    Raises:
        ValueError: when frames are none, or of another form.
        MissingPackageError: PyAV is not installed; the message names the extra.
    """
    _check("write_mp4", frames)
    av = require("av", "video")
    height, width = (size - size % 2 for size in frames[0].shape[:2])
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream(_CODEC, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            picture = np.ascontiguousarray(frame[:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())  # what the encoder still holds
    write_atomic(path, out.getvalue())


def _check(caller: str, frames: Sequence[np.ndarray]) -> None:
    shapes = {(frame.shape, str(frame.dtype)) for frame in frames}
    is_fine = len(shapes) == 1 and all(
        len(shape) == 3 and shape[2] == 3 and min(shape[:2]) > 1 and dtype == "uint8"
        for shape, dtype in shapes
    )
    if not is_fine:
        raise ValueError(
            f"{caller}: frames must be one or more uint8 [H, W, 3] of one size, got "
            f"{sorted(shapes) or 'none'}"
        )
