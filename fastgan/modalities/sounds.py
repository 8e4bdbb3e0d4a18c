# SPDX-License-Identifier: Apache-2.0
"""Waveforms as .wav files, and pictures of them: what a run of sounds writes."""

import io
import math
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan._extras import Extra
from fastgan.atomic import write_atomic

__all__ = ["read_wav", "resample", "rms", "spectrogram", "spectrogram_sheet", "write_wav"]

Image = Extra("PIL.Image", "train")
_LOUDEST_DB, _RANGE_DB = 0.0, 80.0
_GAP = 4
_ZEROS = 16  # zero crossings of the sinc at either side


def write_wav(path: Path, waveform: Tensor, sample_rate: int) -> None:
    """Write one sound as 16-bit PCM, which browsers play.

    Args:
        path: of the file, which is whole or as it was.
        waveform: float [T], or [1, T], in [-1, 1]; louder samples are clipped, NaN is silence.
        sample_rate: in Hz.

    Raises:
        ValueError: when waveform has another shape.
    """
    x = _mono("write_wav", waveform)
    pcm = (torch.nan_to_num(x).clamp(-1, 1) * 32767).round().to(torch.int16).numpy()
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm.astype("<i2").tobytes())
    write_atomic(path, out.getvalue())


def read_wav(path: Path) -> tuple[Tensor, int]:
    """Read a sound of PCM samples of 8, 16, 24 or 32 bits.

    Args:
        path: of a .wav file; of several channels the mean is taken.

    Returns:
        float32 [T] in [-1, 1], and the sample rate in Hz.

    Raises:
        ValueError: when the file is no .wav file of such samples.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(
            f"read_wav: {path} is no .wav file of PCM samples ({error}); convert it, such as with "
            "`sox IN -b 16 OUT`"
        ) from error
    whole = np.frombuffer(data[: len(data) // (width * channels) * width * channels], np.uint8)
    if width == 1:  # unsigned, 128 is silence
        samples = (whole.astype(np.float32) - 128) / 128
    elif width in (2, 3, 4):  # signed, the lowest byte first
        padded = np.zeros((len(whole) // width, 4), dtype=np.uint8)
        padded[:, 4 - width :] = whole.reshape(-1, width)
        samples = (padded.view("<i4")[:, 0] / 2**31).astype(np.float32)
    else:
        raise ValueError(
            f"read_wav: {path} has {8 * width} bits a sample, and 8, 16, 24 and 32 are read; "
            "convert it, such as with `sox IN -b 16 OUT`"
        )
    return torch.from_numpy(samples.reshape(-1, channels).mean(1)), rate


def resample(waveform: Tensor, old: int, new: int) -> Tensor:
    """A sound at another sample rate, by a windowed sinc that is evaluated for each phase.

    Args:
        waveform: float32 [T].
        old: its sample rate in Hz.
        new: the sample rate in Hz that is wanted.

    Returns:
        float32 [ceil(T · new / old)]; what is above 99 % of half of the lower rate is removed.
    """
    if old == new:
        return waveform
    divisor = math.gcd(old, new)
    old, new = old // divisor, new // divisor
    cutoff = 0.99 * min(old, new)  # twice the highest frequency, in units of the divisor
    width = math.ceil(_ZEROS * old / cutoff)
    # output sample k of each `new` lies at input sample k · old / new of each `old`
    place = torch.arange(-width, width + old, dtype=torch.float64) / old
    t = cutoff * (place - torch.arange(new, dtype=torch.float64)[:, None] / new)
    window = torch.cos(t.clamp(-_ZEROS, _ZEROS) * math.pi / (2 * _ZEROS)).square()
    kernels = (torch.sinc(t) * window * (cutoff / old)).float()[:, None]
    padded = torch.nn.functional.pad(waveform, (width, width + old))
    phases = torch.nn.functional.conv1d(padded[None, None], kernels, stride=old)[0]
    return phases.T.flatten()[: math.ceil(len(waveform) * new / old)]


def rms(waveform: Tensor) -> float:
    """Root of the mean square: 0 is silence, 0.7 a sine as loud as can be."""
    return float(waveform.float().square().mean().sqrt())


def spectrogram(waveform: Tensor, *, n_fft: int = 256, hop: int = 64) -> np.ndarray:
    """A picture of a sound: time to the right, frequency upwards, 80 dB from black to white.

    Args:
        waveform: float [T], or [1, T], in [-1, 1].
        n_fft: length of the Hann window; the picture has n_fft / 2 + 1 rows.
        hop: samples for each column.

    Returns:
        uint8 [n_fft / 2 + 1, columns].

    Raises:
        ValueError: when waveform has another shape.
    """
    x = torch.nan_to_num(_mono("spectrogram", waveform))
    x = torch.nn.functional.pad(x, (0, max(0, n_fft - len(x))))
    window = torch.hann_window(n_fft)
    size = torch.stft(x, n_fft, hop, window=window, center=False, return_complex=True).abs()
    level = 20 * (size / (window.sum() / 2)).clamp_min(1e-8).log10()  # 0 dB: a sine of amplitude 1
    shown = ((level - _LOUDEST_DB) / _RANGE_DB + 1).clamp(0, 1) * 255
    return shown.flip(0).round().to(torch.uint8).numpy()


def spectrogram_sheet(
    waveforms: Sequence[Tensor], *, columns: int = 1, **options: Any
) -> "Image.Image":
    """Spectrograms in rows from left to right, for `write_picture`.

    Args:
        waveforms: one or more float [T] or [1, T].
        columns: spectrograms of a row.
        options: as `spectrogram`.

    Returns:
        A grey PIL picture.
    """
    shown = [spectrogram(waveform, **options) for waveform in waveforms]
    rows, columns = -(-len(shown) // columns), min(columns, len(shown))
    height, width = shown[0].shape[0] + _GAP, max(one.shape[1] for one in shown) + _GAP
    sheet = np.full((rows * height - _GAP, columns * width - _GAP), 128, dtype=np.uint8)
    for i, one in enumerate(shown):
        top, left = i // columns * height, i % columns * width
        sheet[top : top + one.shape[0], left : left + one.shape[1]] = one
    return Image.fromarray(sheet)


def _mono(caller: str, waveform: Tensor) -> Tensor:
    x = waveform.detach().cpu().float()
    x = x[0] if x.ndim == 2 and x.shape[0] == 1 else x
    if x.ndim != 1 or not len(x):
        raise ValueError(
            f"{caller}: waveform must be [T] or [1, T] with T > 0, got {tuple(waveform.shape)}"
        )
    return x
