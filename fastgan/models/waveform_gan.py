# SPDX-License-Identifier: Apache-2.0
"""A GAN of short voiced sounds with classes, whose samples are waveforms.

G: a network from z and c gives the gains of two sources, a pulse train and a noise, for each mel
band and frame, and filters them by the short-time Fourier transform: a source and a filter, as in
speech (Fant 1960), with learned gains. D: two convolutional networks over logarithmic mel
spectrograms of the waveform, at two lengths of the window, whose logits are a list; each has a
projection of the class (Miyato and Koyama 2018, arXiv 1802.05637) and spectral norm (arXiv
1802.05957).
"""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from fastgan.models._checks import check_condition, check_config, check_latents, check_samples
from fastgan.models._network import Network
from fastgan.nn import LogMel, mel_filters
from fastgan.nn._torch_conv import Conv2d, ConvTranspose2d

__all__ = ["Config", "Discriminator", "Generator"]

_SLOPE = 0.2
_N_FFT, _HOP = 256, 64
_LOWEST, _HIGHEST = 80.0, 240.0  # of the voice in Hz
_QUIET = 4.6  # minus the logarithm below which a mel is taken as silent: e^-4.6 = 0.01


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the GAN of short sounds.

    Args:
        length: of a sound in samples; a multiple of 1024.
        sample_rate: in Hz, for D's mel spectrograms.
        c_dim: number of classes, at least 1.
        z_dim: width of the noise z that G takes, at least 1.
        channels: of G before its first stage, a multiple of 4; two stages halve it.
        d_channels: of D's first convolutions; its others have more.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    length: int = 4096
    sample_rate: int = 8000
    c_dim: int = 10
    z_dim: int = 32
    channels: int = 128
    d_channels: int = 32

    def __post_init__(self) -> None:
        check_config(self, length=1, sample_rate=1, c_dim=1, z_dim=1, channels=1, d_channels=1)
        if self.length % 1024 or self.channels % 4:
            raise ValueError(
                "Config: length must be a multiple of 1024 and channels one of 4, got "
                f"{self.length} and {self.channels}"
            )

    @property
    def data_shape(self) -> tuple[int, int]:
        """Shape of one sound, (1, length)."""
        return 1, self.length


class Generator(Network):
    """z [N, z_dim], c [N, c_dim] -> sounds [N, 1, length] in [-1, 1].

    Two sources, a pulse train whose frequency depends on the first number of z, and a noise, are
    filtered: a network makes their gains for each of 32 mel bands and each frame.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.z_dim, self.c_dim, width = config.z_dim, config.c_dim, config.channels
        self._frames = config.length // _HOP // 8
        self.first = nn.Linear(config.z_dim + config.c_dim, width * 4 * self._frames)
        self.ups = nn.ModuleList(
            ConvTranspose2d(a, b, 4, 2, padding=1)
            for a, b in ((width, width // 2), (width // 2, width // 4), (width // 4, 2))
        )
        bands = mel_filters(config.sample_rate, _N_FFT, 32)
        shares = (bands / bands.sum(0).clamp_min(1e-12)).float()  # of each frequency's bands
        noise = torch.randn(config.length, generator=torch.Generator().manual_seed(0))
        self.register_buffer("shares", shares, persistent=False)
        self.register_buffer("window", torch.hann_window(_N_FFT), persistent=False)
        self.register_buffer("noise", 0.5 * noise, persistent=False)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        check_latents("Generator", z, self.z_dim)
        check_condition("Generator", c, len(z), self.c_dim)
        h = self.first(torch.cat([z, c.to(z.dtype)], 1)).unflatten(1, (-1, 4, self._frames))
        for up in self.ups:
            h = up(F.leaky_relu(h, _SLOPE))
        gains = self.shares.to(h.dtype).T @ (2 * h - 3).clamp(-12, 4).exp()  # [N, 2, bins, frames]
        gains = torch.cat([gains, gains[..., -1:]], 3)
        y = self._bins(self._pulses(z)) * gains[:, 0] + self._bins(self.noise[None]) * gains[:, 1]
        return self._waveform(y)[:, None].tanh()

    def _bins(self, x: Tensor) -> Tensor:
        window = self.window.to(x.dtype)
        return torch.stft(x, _N_FFT, _HOP, window=window, return_complex=True)

    def _waveform(self, bins: Tensor) -> Tensor:
        """[N, length] of bins [N, F, frames]: torch.istft, which waits for the device."""
        frames = torch.fft.irfft(bins, n=_N_FFT, dim=1)
        window = self.window.to(frames.dtype)[:, None]
        size = (1, _N_FFT + _HOP * (frames.shape[2] - 1))
        parts = torch.cat([frames * window, (window * window).expand_as(frames[:1])])
        summed = F.fold(parts, size, (1, _N_FFT), stride=(1, _HOP))[:, 0, 0]
        inner = slice(_N_FFT // 2, _N_FFT // 2 + self.config.length)
        return summed[:-1, inner] / summed[-1:, inner]

    def _pulses(self, z: Tensor) -> Tensor:
        """float [N, length]: the sum of the cosines of all harmonics."""
        share = torch.special.ndtr(z[:, :1])
        hertz = _LOWEST + (_HIGHEST - _LOWEST) * share
        places = torch.arange(1, self.config.length + 1, device=z.device, dtype=z.dtype)
        phase = math.pi * hertz / self.config.sample_rate * places  # half of the first harmonic's
        count = (0.5 * self.config.sample_rate / hertz).floor() - 1
        return (
            ((2 * count + 1) * phase).sin()
            / phase.sin().abs().clamp_min(1e-3).copysign(phase.sin())
            / count.sqrt()
            / 2
        )


class _Part(nn.Module):
    """Convolutions, their mean over place, and logit + projection of the class."""

    def __init__(self, convs: list[nn.Module], channels: int, c_dim: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(spectral_norm(conv) for conv in convs)
        self.last = spectral_norm(nn.Linear(channels, 1))
        self.classes = spectral_norm(nn.Linear(c_dim, channels, bias=False))

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        for conv in self.convs:
            h = F.leaky_relu(conv(h), _SLOPE)
        h = h.flatten(1)
        return self.last(h) + (self.classes(c) * h).sum(1, keepdim=True)


class Discriminator(Network):
    """x [N, 1, length], c [N, c_dim] -> a list of two logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.c_dim, w = config.c_dim, config.d_channels
        rate = config.sample_rate
        self.mels = nn.ModuleList(
            [
                LogMel(sample_rate=rate, n_fft=512, hop=128, num_mels=32),
                LogMel(sample_rate=rate, n_fft=256, hop=64, num_mels=32),
            ]
        )
        self.parts = nn.ModuleList()
        for mel in self.mels:
            frames, bands, widths = config.length // mel.hop, mel.num_mels, (1, w, 2 * w, 4 * w)
            convs: list[nn.Module] = []
            for a, b in itertools.pairwise(widths):
                convs.append(Conv2d(a, b, 4, 2, padding=1))
                frames, bands = frames // 2, bands // 2
            self.parts.append(_Part(convs, widths[-1] * frames * bands, config.c_dim))

    def forward(self, x: Tensor, c: Tensor) -> list[Tensor]:
        check_samples("Discriminator", x, self.config.data_shape)
        check_condition("Discriminator", c, len(x), self.c_dim)
        c = c.to(x.dtype)
        views = [(mel(x).clamp_min(-_QUIET) / _QUIET).unsqueeze(1) for mel in self.mels]
        return [part(view, c) for part, view in zip(self.parts, views, strict=True)]
