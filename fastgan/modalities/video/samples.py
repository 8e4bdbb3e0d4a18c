# SPDX-License-Identifier: Apache-2.0
"""Clips of a run: sheets of clips that play side by side, as .gif, and as .mp4 with PyAV."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan.modalities import cards
from fastgan.modalities.clips import can_write_mp4, write_gif, write_mp4

__all__ = ["NOUN", "SUFFIX", "make_writer", "section", "write_all", "write_one"]

NOUN = "clips"
SUFFIX = ".gif"
_FPS, _IN_A_ROW, _MOST = 8, 8, 32  # clips of a sheet
_SIDE = 64  # pixels of a clip in a sheet, at least
_ROUNDS = 4  # how often an .mp4 plays its clips


class _Writer:
    def write(self, path: Path, x: Tensor, fakes: Sequence[tuple[float, Path]]) -> None:
        _write(path, x)


def _write(path: Path, x: Tensor) -> None:
    frames = _sheet(x[:_MOST])
    write_gif(path, frames, _FPS)
    if can_write_mp4():
        write_mp4(path.with_suffix(".mp4"), frames * _ROUNDS, _FPS)


def _sheet(x: Tensor) -> list[np.ndarray]:
    """uint8 [H, W, 3] for each frame: all clips [N, 3, T, h, w] beside each other."""
    n, _, _, height, width = x.shape
    pixels = ((x.detach().cpu().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    columns = min(n, _IN_A_ROW)
    rows, times = -(-n // columns), max(_SIDE // height, 1)
    sheet = torch.zeros(x.shape[2], rows * height, columns * width, 3, dtype=torch.uint8)
    for i, clip in enumerate(pixels):
        top, left = i // columns * height, i % columns * width
        sheet[:, top : top + height, left : left + width] = clip.permute(1, 2, 3, 0)
    large = sheet.repeat_interleave(times, 1).repeat_interleave(times, 2)
    return list(large.numpy())


def make_writer(
    config: Any, run_dir: Path, reals: Callable[[int], Tensor], c: Any, n: int
) -> _Writer:
    """What writes the clips of a run; reals.gif is written at once.

    Args:
        config: `TrainConfig`.
        run_dir: folder of the run.
        reals: n → the first n real clips that the run sees.
        c: None.
        n: the number of clips of a snapshot.

    Returns:
        Its `write(path, x, fakes)` writes the clips of a snapshot.
    """
    writer = _Writer()
    writer.write(run_dir / f"reals{SUFFIX}", reals(n), [])
    return writer


def write_one(x: Tensor, stem: Path, config: Any) -> Path:
    """One clip.

    Args:
        x: [1, 3, T, H, W].
        stem: path of the file without suffix.
        config: `TrainConfig`.

    Returns:
        The path of the .gif; with PyAV an .mp4 lies beside it.
    """
    return write_all(x, stem, config)


def write_all(x: Tensor, stem: Path, config: Any) -> Path:
    """Clips as one sheet.

    Args:
        x: [N, 3, T, H, W] in [-1, 1].
        stem: path of the file without suffix.
        config: `TrainConfig`.

    Returns:
        The path of the .gif; with PyAV an .mp4 lies beside it.
    """
    path = stem.with_name(stem.name + SUFFIX)
    _write(path, x)
    return path


def section(
    folder: Path, files: Collection[str], fakes: Sequence[tuple[float, str]]
) -> tuple[str, str]:
    """HTML of the report: the newest clips beside real ones, and those of earlier snapshots.

    Args:
        folder: of the run.
        files: names of what is in it.
        fakes: (kimg, file name) of every snapshot, oldest first.

    Returns:
        What is shown above the curves, and what below them; "" for nothing.
    """
    return cards.beside_reals(
        "Clips", files, fakes, reals=f"reals{SUFFIX}", reals_title="Training clips"
    )
