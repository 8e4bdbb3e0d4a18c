# SPDX-License-Identifier: Apache-2.0
"""Spoken digits: .wav files named DIGIT_VOICE_ANYTHING.wav, or made by espeak-ng."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan import environment
from fastgan.data.cached_sets import require_place
from fastgan.modalities.modality import DataFacts
from fastgan.modalities.sounds import read_wav, resample

__all__ = ["BUILT_IN", "WORDS", "Digits", "describe", "open_data", "preparation"]

BUILT_IN = "digits"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_VOICES = ("m1", "m2", "m3", "m4", "m7", "f1", "f2", "f3", "f4", "f5")
_SPEEDS, _PITCHES = (175, 200, 225), (40, 50, 60)  # words a minute; espeak-ng's 0 to 99
_COUNT = len(WORDS) * len(_VOICES) * len(_SPEEDS) * len(_PITCHES)
_HELD_OUT = 3  # every so many voices, one is kept for the metrics
_THRESHOLD = 0.02  # of the peak, below which a file begins and ends in silence
_PEAK = 0.9


class Digits:
    """Spoken digits of one length; a third of the voices is held out.

    A file begins where it is first louder than 2 % of its peak; what is longer is cut, what is
    shorter ends in silence. Each has a peak of 0.9.

    Args:
        path: a folder of .wav files DIGIT_VOICE_ANYTHING.wav, such as 7_jackson_32.wav; None: the
            folder that espeak-ng's are made in.
        length: of a sound in samples.
        sample_rate: in Hz; other files are resampled.
        max_sounds: at most so many are trained on; None: all.

    Attributes:
        held_out: those of the held-out voices, a pair of (x, digits).

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no such files, or fewer than two voices.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        length: int = 4096,
        sample_rate: int = 8000,
        max_sounds: int | None = None,
    ) -> None:
        self.path, self.name = _folder(path), _name(path)
        files = _files(self.path)
        voices = sorted({f.stem.split("_")[1] for f in files})
        if len(voices) < 2:
            raise ValueError(
                f"Digits: {self.path} has files of {len(voices)} voice, and at least 2 are needed: "
                "one is held out; name them DIGIT_VOICE_ANYTHING.wav"
            )
        kept = set(voices[1::_HELD_OUT])
        parts: tuple[list[Any], list[Any]] = ([], [])
        for file in files:
            digit, voice = file.stem.split("_")[:2]
            x = _cut(resample(*read_wav(file), sample_rate), length)
            parts[voice in kept].append((x, int(digit)))
        train, held_out = (
            (torch.stack([x for x, _ in part])[:, None], torch.tensor([d for _, d in part]))
            for part in parts
        )
        self.x, self.digits = (t[:max_sounds] for t in train)
        self.held_out = held_out
        self.sample_rate = sample_rate

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: np.ndarray, uniform: np.ndarray) -> tuple[Tensor, Tensor]:
        """Some sounds.

        Args:
            indices: int64 [B].
            uniform: not used.

        Returns:
            (float32 [B, 1, length], the digits one-hot [B, 10]).
        """
        return self.x[indices], F.one_hot(self.digits[indices], len(WORDS)).float()


def _cut(x: Tensor, length: int) -> Tensor:
    x = x / x.abs().max().clamp_min(1e-6) * _PEAK
    loud = (x.abs() > _THRESHOLD).nonzero()
    x = x[max(int(loud[0]) - 32, 0) :][:length] if len(loud) else x[:length]
    return F.pad(x, (0, length - len(x)))


def _name(path: str | Path | None) -> str:
    return BUILT_IN if path is None else Path(path).name


def _built_in() -> Path:
    return environment.cache_dir() / "datasets" / f"spoken-digits-v1-{_COUNT}"


def _folder(path: str | Path | None) -> Path:
    found = _built_in() if path is None else Path(path)
    if not found.is_dir():
        raise FileNotFoundError(
            f"Digits: there is no folder {found}; expected .wav files DIGIT_VOICE_ANYTHING.wav, or "
            f"{BUILT_IN!r} for those that espeak-ng makes"
        )
    return found


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("[0-9]_*_*.wav"))
    if not files:
        raise ValueError(
            f"Digits: {folder} has no files named DIGIT_VOICE_ANYTHING.wav, such as "
            "7_jackson_32.wav; rename yours"
        )
    return files


def _espeak() -> str:
    found = shutil.which("espeak-ng")
    if found is None:
        raise FileNotFoundError(
            "Digits: there is no program espeak-ng, which speaks the digits; install the Debian "
            "package (apt install espeak-ng), or name a folder of .wav files (--data FOLDER)"
        )
    return found


def _make(say: Callable[[str], None], progress_bar: Callable[..., Any]) -> None:
    """Speaks all digits in all voices, about a minute, into a folder that is whole or not there."""
    espeak, folder = _espeak(), _built_in()
    say(f"Making {_COUNT} spoken digits by espeak-ng in {folder}")
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with progress_bar("digits") as show:
        done = 0
        for digit, word in enumerate(WORDS):
            for voice in _VOICES:
                for speed in _SPEEDS:
                    for pitch in _PITCHES:
                        path = unfinished / f"{digit}_{voice}_{speed}-{pitch}.wav"
                        subprocess.run(
                            [espeak, "-v", f"en-us+{voice}", "-s", str(speed), "-p", str(pitch),
                             "-w", str(path), word], check=True,
                        )  # fmt: skip
                        done += 1
                        show(done, _COUNT)
    unfinished.rename(folder)


def preparation(data: Any, model: Any) -> Callable[..., None] | None:
    """What makes the built-in digits before their first use.

    Args:
        data: `DataConfig`.
        model: not used.

    Returns:
        A function (say, progress_bar); None where they are there, or `data` names others.

    Raises:
        OSError: there is no espeak-ng, or nothing can be written where they would be.
    """
    if data.path is not None or _built_in().is_dir():
        return None
    _espeak()
    require_place(_built_in())
    return _make


def describe(data: Any) -> DataFacts:
    """What is known of the sounds before they are read.

    Args:
        data: `DataConfig`.

    Returns:
        The number of classes, c_dim, is 10.

    Raises:
        FileNotFoundError: no such folder, or no espeak-ng.
        ValueError: no such files.
    """
    if data.path is None and not _built_in().is_dir():
        _espeak()
        count, place = _COUNT, "spoken by espeak-ng"
    else:
        folder = _folder(data.path)
        count, place = len(_files(folder)), str(folder)
    return DataFacts(
        arguments={"c_dim": len(WORDS)},
        name=_name(data.path),
        count=count,
        lines=(f"data        {count} digits, {place}; a third of the voices is held out",),
    )


def open_data(data: Any, model: Any) -> Digits:
    """The sounds, checked against the model.

    Args:
        data: `DataConfig`.
        model: the architecture's Config, with length, sample_rate and c_dim.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: as `Digits`.
        ValueError: as `Digits`, or another number of classes.
    """
    if model.c_dim != len(WORDS):
        raise ValueError(f"train: model.c_dim must be {len(WORDS)}, the digits, got {model.c_dim}")
    return Digits(
        data.path, length=model.length, sample_rate=model.sample_rate, max_sounds=data.max_images
    )
