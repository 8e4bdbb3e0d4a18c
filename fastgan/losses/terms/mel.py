# SPDX-License-Identifier: Apache-2.0
"""The L1 distance of logarithmic mel spectrograms: what is spoken shall stay. A loss of G.

    weight · E |mel(x) − mel(G(c))|        between each fake and the real sample of its condition

Source: Kong et al. 2020, HiFi-GAN, arXiv 2010.05646, equation 5, with a weight of 45 in equation 8.
"""

from typing import Any

from torch import Tensor

from fastgan.losses.judgement import Judged
from fastgan.losses.objective import Losses, Objective
from fastgan.nn import LogMel

__all__ = ["Term"]


class Term(Objective):
    """The weighted distance, as "mel"; samples are waveforms [N, 1, T].

    Args:
        weight: of the distance; default 45, as published.
        sample_rate: in Hz; default 22050, and the other defaults are HiFi-GAN's, too.
        n_fft: length of the Fourier transform in samples; default 1024.
        hop: samples from one frame to the next; default 256.
        num_mels: the number of mel filters; default 80.
        win: length of the window in samples; default None: n_fft.
        fmin: lowest frequency of the filters in Hz; default 0.
        fmax: highest one in Hz; default None: half of sample_rate.

    Raises:
        ValueError: as `fastgan.nn.LogMel`; and in a step, for samples that are not [N, 1, T].
    """

    def __init__(
        self,
        weight: float = 45.0,
        *,
        sample_rate: int = 22050,
        n_fft: int = 1024,
        hop: int = 256,
        num_mels: int = 80,
        win: int | None = None,
        fmin: float = 0.0,
        fmax: float | None = None,
    ):
        super().__init__()
        self.weight = float(weight)
        mel = LogMel(
            sample_rate=sample_rate, n_fft=n_fft, hop=hop, num_mels=num_mels, win=win, fmin=fmin,
            fmax=fmax,
        )  # fmt: skip
        self._mel = (mel,)  # its constants are no state: a tuple hides them from torch

    def generator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """See `fastgan.losses.objective.Objective.generator_losses`."""
        if not isinstance(fake, Tensor):
            raise ValueError(
                f"mel: samples must be waveforms [N, 1, T], got {type(fake).__name__}; leave the "
                "term mel out"
            )
        mel = self._mel[0].to(fake.device)
        return {"mel": self.weight * (mel(fake) - mel(batch.x)).abs().mean()}
