# SPDX-License-Identifier: Apache-2.0
"""Spoken prompts: a folder of .wav files, or those of Debian's asterisk-core-sounds-en-wav."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan.modalities.input_files import input_files
from fastgan.modalities.modality import DataFacts
from fastgan.modalities.sounds import read_wav, resample, rms
from fastgan.nn import LogMel

__all__ = [
    "BUILT_IN",
    "PROMPTS",
    "HeldOut",
    "Speech",
    "conditions",
    "describe",
    "grid",
    "inputs",
    "mel_of",
    "open_data",
]

BUILT_IN = "prompts"
PROMPTS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")  # asterisk-core-sounds-en-wav
_HELD_OUT = 10  # every so many files, one is kept for the metrics
_SILENT = 1e-3  # a root mean square below which a file holds no speech
_SEGMENTS = 4  # of the segments that are trained on, in a held-out one
_MOST_OF_A_FILE = 4  # held-out segments
_SHOWN = 8  # held-out segments in a snapshot


class HeldOut:
    """Segments of held-out files, each at its place: what is shown and measured.

    Args:
        waveforms: float32 [T] each.
        mel: makes the conditions.
        length: of a segment in samples; of the waveforms that are shorter, none is taken.
        name: of the data set.
        path: of its folder.
    """

    def __init__(
        self, waveforms: list[Tensor], mel: LogMel, *, length: int, name: str, path: Path
    ) -> None:
        self.mel, self.name, self.path, self.held_out = mel, name, path, self
        parts = [
            w.unfold(0, length, length)[:_MOST_OF_A_FILE] for w in waveforms if len(w) >= length
        ]
        self.x = torch.cat(parts)[:, None]

    @cached_property
    def c(self) -> Tensor:
        """float32 [N, num_mels, length / hop]: the conditions of all segments."""
        return torch.cat([self.mel(x) for x in self.x.split(64)])

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: np.ndarray, uniform: np.ndarray) -> tuple[Tensor, Tensor]:
        """Some segments.

        Args:
            indices: int64 [B].
            uniform: not used.

        Returns:
            (float32 [B, 1, length], float32 [B, num_mels, length / hop]).
        """
        return self.x[indices], self.c[indices]


class Speech:
    """Random segments of spoken files, and their mel spectrograms; a tenth is held out.

    Files of another sample rate are resampled. Files that are silent, or shorter than a segment,
    are left out.

    Args:
        path: a folder, in which .wav files are looked for at any depth; None: `PROMPTS`.
        mel: makes the conditions; its sample rate is that of the waveforms.
        segment: length of a sample; a multiple of the hop.
        max_files: at most so many files are trained on; None: all.

    Attributes:
        held_out: segments of the held-out files, up to four times as long.

    Raises:
        FileNotFoundError: no such folder; of the prompts, with the package that has them.
        ValueError: too few files.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        mel: LogMel,
        segment: int,
        max_files: int | None = None,
    ) -> None:
        if segment < 1 or segment % mel.hop:
            raise ValueError(
                f"Speech: segment must be a multiple of the hop, {mel.hop} samples, got {segment}"
            )
        self.path, self.name, self.mel, self.segment = (
            _folder_of(path),
            _name_of(path),
            mel,
            segment,
        )
        waveforms = [
            resample(waveform, rate, mel.sample_rate)
            for waveform, rate in map(read_wav, _files_of(self.path))
        ]
        fitting = [w for w in waveforms if len(w) >= segment and rms(w) > _SILENT]
        if len(fitting) < 2:
            raise ValueError(
                f"Speech: {self.path} has {len(fitting)} files of at least {segment} samples at "
                f"{mel.sample_rate} Hz that are not silent, among {len(waveforms)}, and at least 2 "
                "are needed; add longer ones"
            )
        held_out, train = _split(fitting)
        longest = max(map(len, held_out)) // segment
        self.held_out = HeldOut(
            held_out, mel, length=min(_SEGMENTS, longest) * segment, name=self.name, path=self.path
        )
        train = train[:max_files]
        self._waveforms = torch.cat(train)
        self._lengths = np.array([len(w) for w in train])
        self._starts = np.cumsum(self._lengths) - self._lengths

    def __len__(self) -> int:
        return len(self._lengths)

    def batch(self, indices: np.ndarray, uniform: np.ndarray) -> tuple[Tensor, Tensor]:
        """A random segment of each of some files.

        Args:
            indices: int64 [B].
            uniform: float64 [B, 4] in [0, 1); the first number chooses the place.

        Returns:
            (float32 [B, 1, segment], float32 [B, num_mels, segment / hop]).
        """
        places = uniform[:, 0] * (self._lengths[indices] - self.segment + 1)
        first = torch.from_numpy(self._starts[indices] + places.astype(np.int64))
        x = self._waveforms[first[:, None] + torch.arange(self.segment)][:, None]
        return x, self.mel(x)


def _split(items: list[Any]) -> tuple[list[Any], list[Any]]:
    """(every tenth of the items in a random order that depends on their number alone, the rest)."""
    order = np.random.RandomState(0).permutation(len(items))  # its sequence never changes
    return [items[i] for i in order[::_HELD_OUT]], [
        items[i] for k, i in enumerate(order) if k % _HELD_OUT
    ]


def _name_of(path: str | Path | None) -> str:
    return BUILT_IN if path is None else Path(path).name


def _folder_of(path: str | Path | None) -> Path:
    found = PROMPTS if path is None else Path(path)
    if not found.is_dir():
        advice = (
            "install the Debian package (apt install asterisk-core-sounds-en-wav), or name a "
            "folder of .wav files (--data FOLDER)"
            if path is None
            else f"expected a folder of .wav files, or {BUILT_IN!r} for {PROMPTS}"
        )
        raise FileNotFoundError(f"Speech: there is no folder {found}; {advice}")
    return found


def _files_of(folder: Path) -> list[Path]:
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() == ".wav" and f.is_file())
    if not files:
        raise ValueError(
            f"Speech: {folder} has no .wav file; other formats must be converted, such as with "
            "`sox IN OUT.wav`"
        )
    return files


def mel_of(options: dict[str, Any], **sizes: int) -> LogMel:
    """The mel front end of `DataConfig.options`.

    Args:
        options: sample_rate, n_fft, win, fmin and fmax of `fastgan.nn.LogMel`.
        sizes: hop and num_mels.

    Raises:
        ValueError: for an option that is not known or out of range.
    """
    try:
        return LogMel(**{"sample_rate": 22050, "n_fft": 1024} | options | sizes)
    except TypeError as error:
        raise ValueError(
            "Speech: data.options must be some of sample_rate, n_fft, win, fmin and fmax, got "
            f"{options!r}"
        ) from error


def describe(data: Any) -> DataFacts:
    """What is known of the files before they are read.

    Args:
        data: `DataConfig`.

    Returns:
        Facts without arguments: the recipes take none.

    Raises:
        FileNotFoundError: as `Speech`.
        ValueError: no .wav file.
    """
    folder = _folder_of(data.path)
    count = len(_files_of(folder))
    rate = data.options.get("sample_rate", 22050)
    used = count if data.max_images is None else min(count, data.max_images)
    return DataFacts(
        arguments={},
        name=_name_of(data.path),
        count=used,
        lines=(
            f"data        {folder}: {count} .wav files, at {rate} Hz; a tenth of them is held out",
        ),
    )


def open_data(data: Any, model: Any) -> Speech:
    """The files, checked against the model.

    Args:
        data: `DataConfig`.
        model: a vocoder's Config, with segment_size, hop and num_mels.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: as `Speech`.
        ValueError: as `Speech`.
    """
    mel = mel_of(data.options, hop=model.hop, num_mels=model.num_mels)
    return Speech(data.path, mel=mel, segment=model.segment_size, max_files=data.max_images)


def grid(dataset: Speech, n: int) -> tuple[Tensor, Tensor]:
    """The held-out segments that every snapshot shows.

    Args:
        dataset: the files, or their held-out part.
        n: the most that are asked for.

    Returns:
        (waveforms, mel spectrograms) of at most 8 segments, of different files where there are so
        many.
    """
    held_out = dataset.held_out
    count = min(n, len(held_out), _SHOWN)
    return held_out.batch(np.arange(count) * (len(held_out) // count), np.zeros((count, 4)))


def conditions(dataset: Any, indices: np.ndarray) -> Tensor:
    """The mel spectrograms of held-out segments.

    Args:
        dataset: the files, or their held-out part.
        indices: int64 [n], of held-out segments.

    Returns:
        float32 [n, num_mels, frames].
    """
    held_out = dataset.held_out
    return held_out.c[indices % len(held_out)]


def inputs(path: Path, data: Any, model: Any) -> Iterator[tuple[str, Tensor]]:
    """Conditions of files that a person gives, for `fastgan generate --input`.

    Args:
        path: a .wav file, or a folder of them, resampled to the model's rate.
        data: `DataConfig` of the run.
        model: the architecture's Config.

    Yields:
        (name, the mel spectrogram, float32 [1, num_mels, frames]).

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: as `fastgan.modalities.sounds.read_wav`, a sound that is too short, no .wav file
            in the folder, or two files of one name.
    """
    mel = mel_of(data.options, hop=model.hop, num_mels=model.num_mels)
    for name, file in input_files(path, {".wav"}):
        waveform, rate = read_wav(file)
        yield name, mel(resample(waveform, rate, mel.sample_rate)[None, None])
