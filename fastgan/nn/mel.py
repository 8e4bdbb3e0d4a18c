# SPDX-License-Identifier: Apache-2.0
"""Logarithmic mel spectrograms of waveforms: what vocoders are given, and what they are trained by.

The waveform is reflected by (n_fft - hop) / 2 at both ends, so that T samples have T / hop frames.
A frame is the short-time Fourier transform under a periodic Hann window, magnitude
sqrt(re² + im² + 1e-9), times the mel filters, then the natural logarithm of at least 1e-5.
Source: Kong et al., "HiFi-GAN" (2020), section 2.2 and its published settings. The mel scale and
the filters' areas are those of Slaney's Auditory Toolbox (1998), as librosa documents them for
``htk=False, norm="slaney"``.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.autocast import autocast_type

__all__ = ["LogMel", "mel_filters"]

_LINEAR_HERTZ = 200 / 3  # of one mel below 1000 Hz
_BREAK_HERTZ, _BREAK_MEL = 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27  # of one mel above 1000 Hz
_LEAST_POWER, _LEAST = 1e-9, 1e-5


def _to_mel(hertz: float) -> float:
    if hertz < _BREAK_HERTZ:
        return hertz / _LINEAR_HERTZ
    return _BREAK_MEL + math.log(hertz / _BREAK_HERTZ) / _LOG_STEP


def _to_hertz(mel: Tensor) -> Tensor:
    above = _BREAK_HERTZ * torch.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return torch.where(mel < _BREAK_MEL, mel * _LINEAR_HERTZ, above)


def mel_filters(
    sample_rate: int, n_fft: int, num_mels: int, fmin: float = 0.0, fmax: float | None = None
) -> Tensor:
    """Triangular filters whose corners are evenly spaced in mel, each with an area of 1 Hz.

    Args:
        sample_rate: in Hz.
        n_fft: length of the Fourier transform in samples.
        num_mels: the number of filters.
        fmin: lower corner of the first filter in Hz; default 0.
        fmax: upper corner of the last one in Hz; default None: half of sample_rate.

    Returns:
        float64 [num_mels, n_fft // 2 + 1].

    Raises:
        ValueError: when 0 <= fmin < fmax <= sample_rate / 2 does not hold.
    """
    highest = sample_rate / 2 if fmax is None else float(fmax)
    if not 0 <= fmin < highest <= sample_rate / 2:
        raise ValueError(
            f"mel_filters: expected 0 <= fmin < fmax <= {sample_rate / 2}, half of sample_rate, "
            f"got fmin={fmin} and fmax={highest}"
        )
    bins = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    mels = torch.linspace(_to_mel(fmin), _to_mel(highest), num_mels + 2, dtype=torch.float64)
    corners = _to_hertz(mels)
    low, middle, high = (corners[i : i + num_mels, None] for i in range(3))
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return torch.minimum(rising, falling).clamp_min(0) * (2 / (high - low))


class LogMel(nn.Module):
    """Waveform x [N, 1, T] -> logarithmic mel spectrogram [N, num_mels, T // hop]; differentiable.

    It has no parameters, and no entry of a state dict. Halves are computed in float32.

    Args:
        sample_rate: in Hz.
        n_fft: length of the Fourier transform in samples.
        hop: samples from one frame to the next; n_fft - hop must be even.
        num_mels: the number of mel filters.
        win: length of the Hann window in samples, at most n_fft; default None: n_fft.
        fmin: lowest frequency of the filters in Hz; default 0.
        fmax: highest one in Hz; default None: half of sample_rate.

    Raises:
        ValueError: for a size or a frequency that is out of its range.

    Example:
        mel = LogMel(sample_rate=22050, n_fft=1024, hop=256, num_mels=80, fmax=8000)
        loss = (mel(fake) - mel(real)).abs().mean()
    """

    def __init__(
        self,
        *,
        sample_rate: int,
        n_fft: int,
        hop: int,
        num_mels: int,
        win: int | None = None,
        fmin: float = 0.0,
        fmax: float | None = None,
    ) -> None:
        super().__init__()
        self.sample_rate, self.n_fft, self.hop, self.num_mels = sample_rate, n_fft, hop, num_mels
        self.win = n_fft if win is None else win
        if not 1 <= hop <= n_fft or (n_fft - hop) % 2 or not 1 <= self.win <= n_fft:
            raise ValueError(
                "LogMel: expected 1 <= hop <= n_fft with an even difference, and 1 <= win <= n_fft"
                f", got n_fft={n_fft}, hop={hop} and win={self.win}"
            )
        self.pad = (n_fft - hop) // 2
        filters = mel_filters(sample_rate, n_fft, num_mels, fmin, fmax)
        self.register_buffer("filters", filters, persistent=False)
        window = torch.hann_window(self.win, dtype=torch.float64)
        self.register_buffer("window", window, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 3 or x.shape[1] != 1 or not x.is_floating_point() or x.shape[2] <= self.pad:
            raise ValueError(
                f"LogMel: x must be floating with shape [N, 1, T], T > {self.pad}, got {x.dtype} "
                f"of shape {tuple(x.shape)}; add the channel with x.unsqueeze(1), or pass more"
            )
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        with torch.autocast(autocast_type(x.device), enabled=False):
            padded = F.pad(wide, (self.pad, self.pad), "reflect").squeeze(1)
            bins = torch.stft(
                padded, self.n_fft, self.hop, self.win, self.window.to(wide.dtype), center=False,
                return_complex=True,
            )  # fmt: skip
            power = torch.view_as_real(bins).square().sum(-1)
            mels = self.filters.to(wide.dtype) @ (power + _LEAST_POWER).sqrt()
            return mels.clamp_min(_LEAST).log().to(x.dtype)
