# SPDX-License-Identifier: Apache-2.0
"""BigVGAN: mel spectrogram to waveform, with periodic activations that do not alias.

G: conv_pre 7 -> (transposed convolution ×rate, half the channels -> mean of the blocks of each
kernel size)* -> activation -> conv_post 7 -> tanh, or a clamp to [-1, 1].
Block "1": (activation, dilated convolution, activation, convolution, + input) for each dilation;
block "2": (activation, dilated convolution, + input). An activation is
``fastgan.nn.AntiAliasedActivation`` of Snake or SnakeBeta: one pass of a fused op that also trains.
All convolutions are weight-normed and start as PyTorch starts them. D: five sub-discriminators by
period and three by resolution.

state_dict keys are the published ones with torch's current names for a normed weight; what is saved
with ``weight_g`` and ``weight_v``, or with the norm removed, loads too (``_normed_conv.py``).
Source: Lee et al., "BigVGAN: A Universal Neural Vocoder with Large-Scale Training" (2023),
section 3 and appendix A.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn

from fastgan.models._checks import check_choice, check_config
from fastgan.models._network import Network
from fastgan.models.vocoders._checks import check_wave
from fastgan.models.vocoders._config import VocoderConfig, integers_of
from fastgan.models.vocoders._discriminators import (
    PeriodDiscriminator,
    ResolutionDiscriminator,
    SubDiscriminators,
    merge_outputs,
)
from fastgan.models.vocoders._generator import MelGenerator
from fastgan.models.vocoders._normed_conv import weight_normed
from fastgan.nn import AntiAliasedActivation, Snake, SnakeBeta
from fastgan.nn._torch_conv import Conv1d

__all__ = ["BASE", "LARGE", "Config", "Discriminator", "Generator"]


@dataclass(frozen=True, kw_only=True)
class Config(VocoderConfig):
    """Sizes of BigVGAN.

    Args:
        activation: "snake" or "snakebeta".
        snake_logscale: whether the activation's parameters are logarithms.
        use_bias_at_final: whether the last convolution has a bias.
        use_tanh_at_final: whether G ends in tanh, else in a clamp to [-1, 1].
        resolutions: D has one sub-discriminator for each (n_fft, hop, window), in samples.
        mrd_channels: width of the sub-discriminators by resolution.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    num_mels: int = 100
    activation: str = "snakebeta"
    snake_logscale: bool = True
    use_bias_at_final: bool = True
    use_tanh_at_final: bool = True
    resolutions: tuple[tuple[int, int, int], ...] = (
        (1024, 120, 600),
        (2048, 240, 1200),
        (512, 50, 240),
    )
    mrd_channels: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, activation=("snake", "snakebeta"))
        check_config(self, mrd_channels=1)
        rows = tuple(integers_of("resolutions", row) for row in self.resolutions)
        object.__setattr__(self, "resolutions", rows)
        for row in rows:
            if len(row) != 3 or not row[1] <= row[0] or not row[2] <= row[0]:
                raise ValueError(
                    "Config: resolutions must be (n_fft, hop, window) with hop and window up to "
                    f"n_fft, got {row!r}"
                )


BASE = Config()
LARGE = replace(
    BASE,
    upsample_rates=(4, 4, 2, 2, 2, 2),
    upsample_kernel_sizes=(8, 8, 4, 4, 4, 4),
    upsample_initial_channel=1536,
)


class Generator(MelGenerator):
    """mel [N, num_mels, T] -> waveform [N, 1, T · config.hop] in [-1, 1].

    Args:
        config: the Config, kept as ``config``.
    """

    def __init__(self, config: Config) -> None:
        act = Snake if config.activation == "snake" else SnakeBeta

        def activation(channels: int) -> AntiAliasedActivation:
            return AntiAliasedActivation(act(channels, alpha_logscale=config.snake_logscale))

        super().__init__(config, activation)
        self.ups = nn.ModuleList(nn.ModuleList([up]) for up in self.ups)  # as their keys are named
        self.activation_post = activation(self._width)
        has_bias = config.use_bias_at_final
        self.conv_post = weight_normed(Conv1d(self._width, 1, 7, padding=3, bias=has_bias))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        h = self._first(mel)
        for stage, (up,) in enumerate(self.ups):
            h = self._mean_of_blocks(stage, up(h))
        y = self.conv_post(self.activation_post(h))
        return y.tanh() if self.config.use_tanh_at_final else y.clamp(-1, 1)


class Discriminator(Network):
    """x [N, 1, T] -> (logits, features).

    A list of logits [N, L], one for each period and then each resolution, and of each of these the
    list of its maps, the logits' last, for the feature-matching loss. T must reach the longest
    period and half of the longest n_fft.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        by_period = [PeriodDiscriminator(p, config.mpd_channels) for p in config.periods]
        self.mpd = SubDiscriminators(by_period)
        self.mrd = SubDiscriminators(
            [ResolutionDiscriminator(row, config.mrd_channels) for row in config.resolutions]
        )

    def forward(self, x: torch.Tensor):
        reflected = max((n_fft - hop) // 2 + 1 for n_fft, hop, _ in self.config.resolutions)
        check_wave("Discriminator", x, max(*self.config.periods, reflected))
        return merge_outputs([*self.mpd(x), *self.mrd(x)])
