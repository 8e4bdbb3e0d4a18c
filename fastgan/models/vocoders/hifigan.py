# SPDX-License-Identifier: Apache-2.0
"""HiFi-GAN: mel spectrogram to waveform.

G: conv_pre 7 -> (leaky ReLU 0.1 -> transposed convolution ×rate, half the channels -> mean of the
residual blocks of each kernel size)* -> leaky ReLU 0.01 -> conv_post 7 -> tanh.
Block "1": (leaky ReLU, dilated convolution, leaky ReLU, convolution, + input) for each dilation;
block "2": (leaky ReLU, dilated convolution, + input). All convolutions are weight-normed and start
as PyTorch starts them. D: five sub-discriminators by period and three by scale.

state_dict keys are the published ones with torch's current names for a normed weight; what is saved
with ``weight_g`` and ``weight_v``, or with the norm removed, loads too (``_normed_conv.py``).
Source: Kong et al., "HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity
Speech Synthesis" (2020), section 2 and table of appendix A.1, with its three configurations.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from fastgan.models._checks import check_config
from fastgan.models._network import Network
from fastgan.models.vocoders._checks import check_wave
from fastgan.models.vocoders._config import VocoderConfig
from fastgan.models.vocoders._discriminators import (
    PeriodDiscriminator,
    ScaleDiscriminator,
    SubDiscriminators,
    merge_outputs,
)
from fastgan.models.vocoders._generator import MelGenerator
from fastgan.models.vocoders._normed_conv import weight_normed
from fastgan.nn._torch_conv import Conv1d

__all__ = ["V1", "V2", "V3", "Config", "Discriminator", "Generator"]

_SLOPE = 0.1


@dataclass(frozen=True, kw_only=True)
class Config(VocoderConfig):
    """Sizes of HiFi-GAN.

    Args:
        scales: how many sub-discriminators D has, each at half the rate of the one before.
        msd_channels: first width of the sub-discriminators by scale, a multiple of 16.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    scales: int = 3
    msd_channels: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self, scales=0, msd_channels=1)
        if self.msd_channels % 16:
            raise ValueError(
                f"Config: msd_channels must be a multiple of 16, the groups, got "
                f"{self.msd_channels}"
            )


V1 = Config()
V2 = replace(V1, upsample_initial_channel=128)
V3 = Config(
    upsample_rates=(8, 8, 4),
    upsample_kernel_sizes=(16, 16, 8),
    upsample_initial_channel=256,
    resblock="2",
    resblock_kernel_sizes=(3, 5, 7),
    resblock_dilation_sizes=((1, 2), (2, 6), (3, 12)),
)


def _activation(channels: int) -> nn.Module:
    return nn.LeakyReLU(_SLOPE)


class Generator(MelGenerator):
    """mel [N, num_mels, T] -> waveform [N, 1, T · config.hop] in [-1, 1].

    Args:
        config: the Config, kept as ``config``.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config, _activation)
        self.conv_post = weight_normed(Conv1d(self._width, 1, 7, padding=3))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        h = self._first(mel)
        for stage, up in enumerate(self.ups):
            h = self._mean_of_blocks(stage, up(F.leaky_relu(h, _SLOPE)))
        return self.conv_post(F.leaky_relu(h)).tanh()


class Discriminator(Network):
    """x [N, 1, T] -> (logits, features).

    A list of logits [N, L], one for each period and then for each scale, and of each of these the
    list of its maps, the logits' last, for the feature-matching loss. T must be at least the
    longest period.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        by_period = [PeriodDiscriminator(p, config.mpd_channels) for p in config.periods]
        self.mpd = SubDiscriminators(by_period)
        self.msd = SubDiscriminators(
            [ScaleDiscriminator(k == 0, config.msd_channels) for k in range(config.scales)],
            pools=config.scales - 1,
        )

    def forward(self, x: torch.Tensor):
        check_wave("Discriminator", x, max(self.config.periods))
        return merge_outputs([*self.mpd(x), *self.msd(x)])
