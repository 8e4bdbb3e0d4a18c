# SPDX-License-Identifier: Apache-2.0
"""Metrics of vocoders, which need no package.

mel_l1            mean distance of the logarithmic mel spectrograms of generated speech from those
                  of the held-out speech that it was made of; 0 is the best
griffin_lim_l1    the same of 32 iterations of Griffin and Lim's method (1984) on these
                  spectrograms: what is reached without learning
mel_l1_ratio      the first divided by the second
rms_ratio         loudness: root mean square of all generated speech, divided by that of the real
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.metrics import PartEvaluator
from fastgan.modalities.speech.data import Speech
from fastgan.nn import LogMel

__all__ = [
    "DEFAULT",
    "HIGHER_IS_BETTER",
    "LOWER_IS_BETTER",
    "NAMES",
    "available",
    "griffin_lim",
    "make_evaluator",
]

NAMES = ("mel_l1", "griffin_lim_l1", "mel_l1_ratio", "rms_ratio")
DEFAULT = ",".join(NAMES)
LOWER_IS_BETTER, HIGHER_IS_BETTER = ("mel_l1", "mel_l1_ratio"), ()
_ITERATIONS, _UPDATES = 32, 200


def available() -> str | None:
    """Why the metrics can't be computed here: None, they always can."""
    return None


def griffin_lim(c: Tensor, mel: LogMel, *, iterations: int = _ITERATIONS, seed: int = 0) -> Tensor:
    """Waveforms of mel spectrograms without a network.

    Magnitudes that fit the mel spectrogram are found by multiplicative updates (Lee and Seung
    2001); the phases start at random, and are those of the waveform's own transform after each
    iteration (Griffin and Lim 1984).

    Args:
        c: [N, num_mels, frames], logarithmic.
        mel: what made it.
        iterations: of the phases.
        seed: of the phases at the start.

    Returns:
        float32 [N, 1, frames · hop].
    """
    filters, target = mel.filters.float(), c.float().exp()
    size = (filters.T @ target) / filters.sum(0).clamp_min(1e-8)[:, None]
    for _ in range(_UPDATES):
        fitted = filters @ size
        size = size * (filters.T @ target) / (filters.T @ fitted).clamp_min(1e-8)
    window = F.pad(mel.window.float(), [(mel.n_fft - mel.win) // 2, (mel.n_fft - mel.win + 1) // 2])
    random = torch.Generator().manual_seed(seed)
    angles = 2 * torch.pi * torch.rand(size.shape, generator=random)
    bins = torch.polar(size, angles)
    for _ in range(iterations):
        wave = _overlapped(bins, window, mel.hop)
        again = torch.stft(
            wave, mel.n_fft, mel.hop, window=window, center=False, return_complex=True
        )
        bins = size * again / again.abs().clamp_min(1e-8)
    wave = _overlapped(bins, window, mel.hop)
    return wave[:, None, mel.pad : wave.shape[1] - mel.pad]


def _overlapped(bins: Tensor, window: Tensor, hop: int) -> Tensor:
    """The waveforms [N, T] whose transform is nearest to `bins` [N, F, frames]."""
    n_fft = len(window)
    frames = torch.fft.irfft(bins, n_fft, dim=1) * window[:, None]
    weights = window.square()[None, :, None].expand(1, n_fft, frames.shape[2])
    length = (frames.shape[2] - 1) * hop + n_fft

    def add(parts: Tensor) -> Tensor:
        return F.fold(parts, (1, length), (1, n_fft), stride=(1, hop))[:, 0, 0]

    return add(frames) / add(weights).clamp_min(1e-3)


class SpeechEvaluator(PartEvaluator):
    """Compares generated speech with the held-out speech of a data set.

    Args:
        dataset: the speech, of which the held-out part is used.
        options: as `fastgan.metrics.PartEvaluator`; num_real bounds the held-out segments.
    """

    names = NAMES
    extractor_name = "mel spectrogram"

    def __init__(self, dataset: Speech, **options: Any) -> None:
        super().__init__(dataset.held_out, **options)
        self._griffin_lim: float | None = None

    def features(self, x: Tensor, first: int) -> Tensor:
        """The distances and the loudness.

        Args:
            x: waveforms [n, 1, T].
            first: index of the first of them.

        Returns:
            float32 [n, 3]: mel L1, mean square of the generated and of the real waveform.
        """
        held_out = self.dataset
        indices = (torch.arange(len(x)) + first) % len(held_out)
        fake, real = x.detach().float().cpu(), held_out.x[indices]
        distance = (held_out.mel(fake) - held_out.c[indices]).abs().mean((1, 2))
        squares = [w.square().mean((1, 2)) for w in (fake, real)]
        return torch.stack([distance, *squares], 1)

    def scores(self, names: Sequence[str], fake: Tensor) -> dict[str, float]:
        """The values of all metrics.

        Args:
            names: not used: all are computed.
            fake: [num_fake, 3].

        Returns:
            The value of each metric by name.
        """
        if self._griffin_lim is None:
            c, mel = self.dataset.c[: self.num_real], self.dataset.mel
            found = mel(griffin_lim(c, mel, seed=self.seed))
            self._griffin_lim = float((found - c).abs().mean())
        distance, square, real = (float(value) for value in fake.double().mean(0))
        return {
            "mel_l1": distance,
            "griffin_lim_l1": self._griffin_lim,
            "mel_l1_ratio": distance / self._griffin_lim,
            "rms_ratio": (square / real) ** 0.5,
        }


def make_evaluator(dataset: Speech, **options: Any) -> SpeechEvaluator:
    """The evaluator of vocoders.

    Args:
        dataset: the speech.
        options: num_real, batch, device, seed and ranks.
    """
    return SpeechEvaluator(dataset, **options)
