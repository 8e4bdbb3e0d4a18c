# SPDX-License-Identifier: Apache-2.0
"""Speech of a run: a .wav file of each held-out prompt, and a picture of their spectrograms."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.modalities import cards
from fastgan.modalities.pictures import write_picture
from fastgan.modalities.sounds import spectrogram_sheet, write_wav

__all__ = ["NOUN", "SUFFIX", "make_writer", "section", "write_all", "write_one"]

NOUN = "sounds"
SUFFIX = ".png"  # the spectrograms; the .wav files beside it have its name and a number
_PAUSE_SECONDS = 0.25  # between the sounds of one file
_COLUMNS = 2  # of spectrograms in a picture


class _Writer:
    def __init__(self, sample_rate: int):
        self._sample_rate = sample_rate

    def write(self, path: Path, x: Tensor, fakes: Sequence[tuple[float, Path]]) -> None:
        for i, waveform in enumerate(x):
            write_wav(path.with_name(f"{path.stem}-{i}.wav"), waveform, self._sample_rate)
        write_picture(path, spectrogram_sheet(list(x), columns=_COLUMNS))


def _rate_of(config: Any) -> int:
    return config.data.options.get("sample_rate", 22050)


def make_writer(
    config: Any, run_dir: Path, reals: Callable[[int], Tensor], c: Any, n: int
) -> _Writer:
    """What writes the sounds of a run; those of the real prompts are written at once.

    Args:
        config: `TrainConfig`.
        run_dir: folder of the run.
        reals: n → the held-out prompts [n, 1, T] that the snapshots speak.
        c: their mel spectrograms.
        n: their number.

    Returns:
        Its `write(path, x, fakes)` writes the waveforms x [n, 1, T] of a snapshot.
    """
    writer = _Writer(_rate_of(config))
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
    path = stem.with_name(stem.name + ".wav")
    write_wav(path, x[0], _rate_of(config))
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
    pause = int(_PAUSE_SECONDS * _rate_of(config))
    return write_one(torch.nn.functional.pad(x, (0, pause)).reshape(1, 1, -1), stem, config)


def section(
    folder: Path, files: Collection[str], fakes: Sequence[tuple[float, str]]
) -> tuple[str, str]:
    """HTML of the report: players and spectrograms of the newest snapshot beside the real prompts.

    Args:
        folder: of the run.
        files: names of what is in it.
        fakes: (kimg, file name) of every snapshot, oldest first.

    Returns:
        What is shown above the curves, and what below them; "" for nothing.
    """
    return cards.beside_reals(
        "Sounds", files, fakes, partial(_card, files), reals=f"reals{SUFFIX}",
        reals_title="Real prompts", reals_note="held out, for comparison",
    )  # fmt: skip


def _card(files: Collection[str], title: str, note: str, file: str) -> str:
    stem = Path(file).stem
    numbers = range(sum(f.startswith(f"{stem}-") for f in files))
    players = "".join(cards.sound(f"{stem}-{i}.wav") for i in numbers)
    return cards.text_card(title, note, players + cards.picture(file, f"{title}: spectrograms"))
