"""HiFi-GAN: mel spectrogram to waveform.

G: conv_pre 7 -> (leaky ReLU 0.1 -> transposed convolution ×rate, half the channels -> mean of the
residual blocks of each kernel size)* -> leaky ReLU 0.01 -> conv_post 7 -> tanh.
Block "1": (leaky ReLU, dilated convolution, leaky ReLU, convolution, + input) for each dilation;
block "2": (leaky ReLU, dilated convolution, + input). All convolutions are weight-normed and start
as PyTorch starts them. D: five discriminators by period and three by scale.

state_dict keys are the published ones with torch's current names for a normed weight; what is saved
with ``weight_g`` and ``weight_v``, or with the norm removed, loads too (``_normed_conv.py``).
Source: Kong et al., "HiFi-GAN: Generative Adversarial Networks for Efficient and High Fidelity
Speech Synthesis" (2020), section 2 and table of appendix A.1, with its three configurations.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from fastgan.models._checks import check_config
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
    ScaleDiscriminator,
    logits_and_features,
)
from fastgan.models.vocoders._normed_conv import remove_weight_norm, same_conv, weight_normed
from fastgan.nn._torch_conv import Conv1d, ConvTranspose1d

__all__ = ["V1", "V2", "V3", "Config", "Discriminator", "Generator"]

_SLOPE = 0.1


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of HiFi-GAN; the fields of G are those of published ``config.json`` files.

    upsample_rates: stages of G; their product is the hop of the spectrogram. resblock: "1" or "2".
    periods, scales: parts of D; mpd_channels, msd_channels: their first widths.
    """

    num_mels: int = 80
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    upsample_initial_channel: int = 512
    resblock: str = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    scales: int = 3
    mpd_channels: int = 32
    msd_channels: int = 128

    def __post_init__(self) -> None:
        check_generator_config(self)
        check_config(self, scales=0, mpd_channels=1, msd_channels=1)
        object.__setattr__(self, "periods", integers_of("periods", self.periods))
        if self.msd_channels % 16:
            raise ValueError(
                f"Config: msd_channels must be a multiple of 16, the groups, got "
                f"{self.msd_channels}"
            )

    @property
    def hop(self) -> int:
        """Samples of the waveform for each frame of the spectrogram."""
        return math.prod(self.upsample_rates)


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


class _Block1(nn.Module):
    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(channels, kernel, d) for d in dilations)
        self.convs2 = nn.ModuleList(same_conv(channels, kernel) for _ in dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            h = first(F.leaky_relu(x, _SLOPE))
            x = x + second(F.leaky_relu(h, _SLOPE))
        return x


class _Block2(nn.Module):
    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(same_conv(channels, kernel, d) for d in dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.convs:
            x = x + conv(F.leaky_relu(x, _SLOPE))
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
            self.ups.append(weight_normed(up))
            width //= 2
            for size, dilations in zip(
                config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
            ):
                self.resblocks.append(block(width, size, dilations))
        self.conv_post = weight_normed(Conv1d(width, 1, 7, padding=3))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        check_mel("Generator", mel, self.config.num_mels)
        blocks = len(self.config.resblock_kernel_sizes)
        h = self.conv_pre(mel)
        for k, up in enumerate(self.ups):
            h = up(F.leaky_relu(h, _SLOPE))
            h = sum(block(h) for block in self.resblocks[k * blocks : (k + 1) * blocks]) / blocks
        return self.conv_post(F.leaky_relu(h)).tanh()

    def remove_weight_norm(self) -> None:
        """Turns the normed weights into plain ones of the same value, for inference."""
        remove_weight_norm(self)


class Discriminator(Pretrained, nn.Module):
    """x [N, 1, T] -> a tuple of logits [N, L], one for each period and then for each scale.

    With ``returns_features``, also a tuple of the lists of each part's maps, its logits' last, for
    the feature-matching loss. T must be at least the longest period.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.mpd = Parts([PeriodDiscriminator(p, config.mpd_channels) for p in config.periods])
        self.msd = Parts(
            [ScaleDiscriminator(k == 0, config.msd_channels) for k in range(config.scales)],
            pools=config.scales - 1,
        )

    def forward(self, x: torch.Tensor, returns_features: bool = False):
        check_wave("Discriminator", x, max(self.config.periods))
        return logits_and_features([*self.mpd(x), *self.msd(x)], returns_features)
