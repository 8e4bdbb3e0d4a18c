"""BigVGAN: mel spectrogram to waveform, with periodic activations that do not alias.

G: conv_pre 7 -> (transposed convolution ×rate, half the channels -> mean of the blocks of each
kernel size)* -> activation -> conv_post 7 -> tanh, or a clamp to [-1, 1].
Block "1": (activation, dilated convolution, activation, convolution, + input) for each dilation;
block "2": (activation, dilated convolution, + input). An activation is
``fastgan.nn.AntiAliasedActivation`` of Snake or SnakeBeta: one pass of a fused op that also trains.
All convolutions are weight-normed and start as PyTorch starts them. D: five discriminators by
period and three by resolution.

state_dict keys are the published ones with torch's current names for a normed weight; what is saved
with ``weight_g`` and ``weight_v``, or with the norm removed, loads too (``_normed_conv.py``).
Source: Lee et al., "BigVGAN: A Universal Neural Vocoder with Large-Scale Training" (2023),
section 3 and appendix A.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from fastgan.models._checks import check_choice, check_config
from fastgan.models._pretrained import Pretrained
from fastgan.models.vocoders._checks import (
    check_generator_config,
    check_mel,
    check_wave,
    integers_of,
)
from fastgan.models.vocoders._discriminators import (
    Parts,
    PeriodDiscriminator,
    ResolutionDiscriminator,
    logits_and_features,
)
from fastgan.models.vocoders._normed_conv import remove_weight_norm, same_conv, weight_normed
from fastgan.nn import AntiAliasedActivation, Snake, SnakeBeta
from fastgan.nn._torch_conv import Conv1d, ConvTranspose1d

__all__ = ["BASE", "LARGE", "Config", "Discriminator", "Generator"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of BigVGAN; the fields of G are those of published ``config.json`` files.

    upsample_rates: stages of G; their product is the hop of the spectrogram. resblock: "1" or "2".
    activation: "snake" or "snakebeta"; snake_logscale: whether its parameters are logarithms.
    periods, resolutions (n_fft, hop, window): parts of D; mpd_channels, mrd_channels: their widths.
    """

    num_mels: int = 100
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    upsample_initial_channel: int = 512
    resblock: str = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    activation: str = "snakebeta"
    snake_logscale: bool = True
    use_bias_at_final: bool = True
    use_tanh_at_final: bool = True
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    resolutions: tuple[tuple[int, int, int], ...] = (
        (1024, 120, 600),
        (2048, 240, 1200),
        (512, 50, 240),
    )
    mpd_channels: int = 32
    mrd_channels: int = 32

    def __post_init__(self) -> None:
        check_generator_config(self)
        check_choice(self, activation=("snake", "snakebeta"))
        check_config(self, mpd_channels=1, mrd_channels=1)
        object.__setattr__(self, "periods", integers_of("periods", self.periods))
        rows = tuple(integers_of("resolutions", row) for row in self.resolutions)
        object.__setattr__(self, "resolutions", rows)
        for row in rows:
            if len(row) != 3 or not row[1] <= row[0] or not row[2] <= row[0]:
                raise ValueError(
                    "Config: resolutions must be (n_fft, hop, window) with hop and window up to "
                    f"n_fft, got {row!r}"
                )

    @property
    def hop(self) -> int:
        """Samples of the waveform for each frame of the spectrogram."""
        return math.prod(self.upsample_rates)


BASE = Config()
LARGE = replace(
    BASE,
    upsample_rates=(4, 4, 2, 2, 2, 2),
    upsample_kernel_sizes=(8, 8, 4, 4, 4, 4),
    upsample_initial_channel=1536,
)


def _activation(config: Config, channels: int) -> AntiAliasedActivation:
    act = Snake if config.activation == "snake" else SnakeBeta
    return AntiAliasedActivation(act(channels, alpha_logscale=config.snake_logscale))


class _Block1(nn.Module):
    def __init__(
        self, config: Config, channels: int, kernel: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(channels, kernel, d) for d in dilations)
        self.convs2 = nn.ModuleList(same_conv(channels, kernel) for _ in dilations)
        self.activations = nn.ModuleList(
            _activation(config, channels) for _ in range(2 * len(dilations))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        acts = self.activations
        for first, second, act1, act2 in zip(
            self.convs1, self.convs2, acts[::2], acts[1::2], strict=True
        ):
            x = x + second(act2(first(act1(x))))
        return x


class _Block2(nn.Module):
    def __init__(
        self, config: Config, channels: int, kernel: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(same_conv(channels, kernel, d) for d in dilations)
        self.activations = nn.ModuleList(_activation(config, channels) for _ in dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, act in zip(self.convs, self.activations, strict=True):
            x = x + conv(act(x))
        return x


class Generator(Pretrained, nn.Module):
    """mel [N, num_mels, T] -> waveform [N, 1, T · config.hop] in [-1, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        width = config.upsample_initial_channel
        self.conv_pre = weight_normed(Conv1d(config.num_mels, width, 7, padding=3))
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        block = _Block1 if config.resblock == "1" else _Block2
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            up = ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(nn.ModuleList([weight_normed(up)]))
            width //= 2
            for size, dilations in zip(
                config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
            ):
                self.resblocks.append(block(config, width, size, dilations))
        self.activation_post = _activation(config, width)
        self.conv_post = weight_normed(
            Conv1d(width, 1, 7, padding=3, bias=config.use_bias_at_final)
        )

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        check_mel("Generator", mel, self.config.num_mels)
        blocks = len(self.config.resblock_kernel_sizes)
        h = self.conv_pre(mel)
        for k, (up,) in enumerate(self.ups):
            h = up(h)
            h = sum(block(h) for block in self.resblocks[k * blocks : (k + 1) * blocks]) / blocks
        y = self.conv_post(self.activation_post(h))
        return y.tanh() if self.config.use_tanh_at_final else y.clamp(-1, 1)

    def remove_weight_norm(self) -> None:
        """Turns the normed weights into plain ones of the same value, for inference."""
        remove_weight_norm(self)


class Discriminator(Pretrained, nn.Module):
    """x [N, 1, T] -> a tuple of logits [N, L], one for each period and then each resolution.

    With ``returns_features``, also a tuple of the lists of each part's maps, its logits' last, for
    the feature-matching loss. T must reach the longest period and half of the longest n_fft.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.mpd = Parts([PeriodDiscriminator(p, config.mpd_channels) for p in config.periods])
        self.mrd = Parts(
            [ResolutionDiscriminator(row, config.mrd_channels) for row in config.resolutions]
        )

    def forward(self, x: torch.Tensor, returns_features: bool = False):
        reflected = max((n_fft - hop) // 2 + 1 for n_fft, hop, _ in self.config.resolutions)
        check_wave("Discriminator", x, max(*self.config.periods, reflected))
        return logits_and_features([*self.mpd(x), *self.mrd(x)], returns_features)
