# SPDX-License-Identifier: Apache-2.0
"""Spoken digits of a run: each snapshot is a .wav file, and a picture of spectrograms."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.modalities import cards
from fastgan.modalities.pictures import write_picture
from fastgan.modalities.sounds import spectrogram_sheet, write_wav

__all__ = ["NOUN", "SUFFIX", "make_writer", "section", "write_all", "write_one"]

NOUN = "spoken digits"
SUFFIX = ".wav"  # the spectrograms beside it are a .png file
_SHOWN = 20  # sounds of a snapshot
_PAUSE = 800  # samples between them
_PER_ROW = 10  # spectrograms in a row of the picture


class _Writer:
    def __init__(self, sample_rate: int):
        self._sample_rate = sample_rate

    def write(self, path: Path, x: Tensor, fakes: Sequence[tuple[float, Path]]) -> None:
        rows = [_joined(row) for row in x[:_SHOWN].split(_PER_ROW)]
        write_wav(path, torch.cat(rows), self._sample_rate)
        write_picture(path.with_suffix(".png"), spectrogram_sheet(rows))


def _joined(x: Tensor) -> Tensor:
    """[N, 1, T] -> [N · (T + pause)]."""
    return torch.nn.functional.pad(x, (0, _PAUSE)).flatten()


def make_writer(
    config: Any, run_dir: Path, reals: Callable[[int], Tensor], c: Any, n: int
) -> _Writer:
    """What writes the sounds of a run; reals.wav is written at once.

    Args:
        config: `TrainConfig`.
        run_dir: folder of the run.
        reals: n → the first n real sounds [n, 1, T] that the run sees.
        c: the digits.
        n: the number of sounds of a snapshot, of which 20 are written.

    Returns:
        Its `write(path, x, fakes)` writes the sounds x [n, 1, T] of a snapshot.
    """
    writer = _Writer(config.model.sample_rate)
    writer.write(run_dir / f"reals{SUFFIX}", reals(n), [])
    return writer


def write_one(x: Tensor, stem: Path, config: Any) -> Path:
    """One sound as a .wav file.

    Args:
        x: [1, 1, T].
        stem: path of the file without suffix.
        config: `TrainConfig`.

    Returns:
        The path.
    """
    path = stem.with_name(stem.name + SUFFIX)
    write_wav(path, x[0], config.model.sample_rate)
    return path


def write_all(x: Tensor, stem: Path, config: Any) -> Path:
    """Sounds as one .wav file, one after the other.

    Args:
        x: [N, 1, T].
        stem: path of the file without suffix.
        config: `TrainConfig`.

    Returns:
        The path.
    """
    return write_one(_joined(x)[None, None], stem, config)


def section(
    folder: Path, files: Collection[str], fakes: Sequence[tuple[float, str]]
) -> tuple[str, str]:
    """HTML of the report: a player and the spectrograms of the newest snapshot and of real ones.

    Args:
        folder: of the run.
        files: names of what is in it.
        fakes: (kimg, file name) of every snapshot, oldest first.

    Returns:
        What is shown above the curves, and what below them; "" for nothing.
    """
    return cards.beside_reals(
        "Spoken digits", files, fakes, _card, reals=f"reals{SUFFIX}",
        reals_title="Training sounds", newest_note=", zero to nine",
    )  # fmt: skip


def _card(title: str, note: str, file: str) -> str:
    picture = cards.picture(str(Path(file).with_suffix(".png")), f"{title}: spectrograms")
    return cards.text_card(title, note, cards.sound(file) + picture)
