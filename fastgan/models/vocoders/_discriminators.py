# SPDX-License-Identifier: Apache-2.0
"""Sub-discriminators of vocoders: by periods, scales and resolutions."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from fastgan.autocast import autocast_type
from fastgan.models.vocoders._normed_conv import spectral_normed, weight_normed
from fastgan.nn._torch_conv import Conv1d, Conv2d

_SLOPE = 0.1

# Logits [N, L], and the maps of every convolution, the last one's too.
LogitsAndMaps = tuple[torch.Tensor, list[torch.Tensor]]


class _SubDiscriminator(nn.Module):
    """(Convolution, leaky ReLU 0.1)* and a last convolution to one channel."""

    def __init__(self, convs: Sequence[nn.Module], conv_post: nn.Module) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.conv_post = conv_post

    def run_convs(self, h: torch.Tensor) -> LogitsAndMaps:
        maps = []
        for conv in self.convs:
            h = F.leaky_relu(conv(h), _SLOPE)
            maps.append(h)
        h = self.conv_post(h)
        return h.flatten(1), [*maps, h]


class PeriodDiscriminator(_SubDiscriminator):
    """x [N, 1, T], reflected to a multiple of ``period`` and folded to [N, 1, T / period, period].

    Source: Kong et al., "HiFi-GAN" (2020), section 2.3.
    """

    def __init__(self, period: int, channels: int) -> None:
        widths = (1, channels, 4 * channels, 16 * channels, 32 * channels)
        convs = [
            Conv2d(a, b, (5, 1), (3, 1), padding=(2, 0)) for a, b in itertools.pairwise(widths)
        ]
        convs.append(Conv2d(widths[-1], widths[-1], (5, 1), padding=(2, 0)))
        last = Conv2d(widths[-1], 1, (3, 1), padding=(1, 0))
        super().__init__([weight_normed(conv) for conv in convs], weight_normed(last))
        self.period = period

    def forward(self, x: torch.Tensor) -> LogitsAndMaps:
        missing = -x.shape[2] % self.period
        if missing:
            x = F.pad(x, (0, missing), "reflect")
        return self.run_convs(x.unflatten(2, (-1, self.period)))


class ScaleDiscriminator(_SubDiscriminator):
    """x [N, 1, T] by grouped convolutions along time.

    Source: Kumar et al., "MelGAN" (2019), section 2.2, with the widths of HiFi-GAN.
    """

    def __init__(self, has_spectral_norm: bool, channels: int) -> None:
        norm = spectral_normed if has_spectral_norm else weight_normed
        rows = (  # out, in, kernel, stride, groups
            (1, 1, 15, 1, 1),
            (1, 1, 41, 2, 4),
            (2, 1, 41, 2, 16),
            (4, 2, 41, 4, 16),
            (8, 4, 41, 4, 16),
            (8, 8, 41, 1, 16),
            (8, 8, 5, 1, 1),
        )
        convs = [
            Conv1d(
                1 if k == 0 else before * channels,
                after * channels,
                size,
                stride,
                padding=size // 2,
                groups=groups,
            )
            for k, (after, before, size, stride, groups) in enumerate(rows)
        ]
        last = Conv1d(8 * channels, 1, 3, padding=1)
        super().__init__([norm(conv) for conv in convs], norm(last))

    def forward(self, x: torch.Tensor) -> LogitsAndMaps:
        return self.run_convs(x)


class ResolutionDiscriminator(_SubDiscriminator):
    """The magnitudes of x's [N, 1, T] short-time Fourier transform as a map [N, 1, bins, frames].

    ``resolution``: (n_fft, hop, window) in samples; the window is rectangular, and x is reflected
    by (n_fft - hop) / 2 at both ends.
    Source: Jang et al., "UnivNet" (2021), section 2.2; BigVGAN's published widths.
    """

    def __init__(self, resolution: tuple[int, int, int], channels: int) -> None:
        convs = [Conv2d(1, channels, (3, 9), padding=(1, 4))]
        convs += [Conv2d(channels, channels, (3, 9), (1, 2), padding=(1, 4)) for _ in range(3)]
        convs.append(Conv2d(channels, channels, (3, 3), padding=(1, 1)))
        last = Conv2d(channels, 1, (3, 3), padding=(1, 1))
        super().__init__([weight_normed(conv) for conv in convs], weight_normed(last))
        self.resolution = resolution
        self.register_buffer("_window", torch.ones(resolution[2]), persistent=False)

    def forward(self, x: torch.Tensor) -> LogitsAndMaps:
        n_fft, hop, window = self.resolution
        pad = (n_fft - hop) // 2
        x = F.pad(x, (pad, pad), "reflect").squeeze(1)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        with torch.autocast(autocast_type(x.device), enabled=False):
            bins = torch.stft(
                wide, n_fft, hop, window, self._window.to(wide.dtype), center=False,
                return_complex=True,
            )  # fmt: skip
        return self.run_convs(bins.abs().to(x.dtype).unsqueeze(1))


class SubDiscriminators(nn.Module):
    """Several discriminators of one signal; from the second on, the first ``pools`` of them get it
    at half the rate of the one before."""

    def __init__(self, discriminators: Sequence[nn.Module], pools: int = 0) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(discriminators)
        self.pools = pools

    def forward(self, x: torch.Tensor) -> list[LogitsAndMaps]:
        outputs = []
        for k, discriminator in enumerate(self.discriminators):
            if 0 < k <= self.pools:
                x = F.avg_pool1d(x, 4, 2, padding=2)
            outputs.append(discriminator(x))
        return outputs


def merge_outputs(
    outputs: list[LogitsAndMaps],
) -> tuple[list[torch.Tensor], list[list[torch.Tensor]]]:
    """What a Discriminator returns, of the outputs of its sub-discriminators."""
    return [logits for logits, _ in outputs], [maps for _, maps in outputs]
