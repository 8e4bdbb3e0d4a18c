# SPDX-License-Identifier: Apache-2.0
"""What the vocoders' generators share: stages of an up-sampling and residual blocks, their mean."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fastgan.models._network import Network
from fastgan.models.vocoders._checks import check_mel
from fastgan.models.vocoders._normed_conv import remove_weight_norm, same_conv, weight_normed
from fastgan.nn._torch_conv import Conv1d, ConvTranspose1d

Activation = Callable[[int], nn.Module]  # made for a number of channels


class ResidualBlock1(nn.Module):
    """(Activation, dilated convolution, activation, convolution, + input) for each dilation."""

    def __init__(
        self, channels: int, kernel: int, dilations: tuple[int, ...], activation: Activation
    ) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(channels, kernel, d) for d in dilations)
        self.convs2 = nn.ModuleList(same_conv(channels, kernel) for _ in dilations)
        self.activations = nn.ModuleList(activation(channels) for _ in range(2 * len(dilations)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        acts = self.activations
        for first, second, act1, act2 in zip(
            self.convs1, self.convs2, acts[::2], acts[1::2], strict=True
        ):
            x = x + second(act2(first(act1(x))))
        return x


class ResidualBlock2(nn.Module):
    """(Activation, dilated convolution, + input) for each dilation."""

    def __init__(
        self, channels: int, kernel: int, dilations: tuple[int, ...], activation: Activation
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(same_conv(channels, kernel, d) for d in dilations)
        self.activations = nn.ModuleList(activation(channels) for _ in dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, act in zip(self.convs, self.activations, strict=True):
            x = x + conv(act(x))
        return x


class MelGenerator(Network):
    """A generator from mel spectrograms: mel [N, num_mels, T] -> waveform [N, 1, T · config.hop].

    ``forward`` takes mel, floating point, and raises ValueError for another shape or dtype; the
    waveform is in [-1, 1].
    """

    def __init__(self, config: Any, activation: Activation) -> None:
        super().__init__(config)
        width = config.upsample_initial_channel
        self.conv_pre = weight_normed(Conv1d(config.num_mels, width, 7, padding=3))
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        block = ResidualBlock1 if config.resblock == "1" else ResidualBlock2
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
            up = ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(weight_normed(up))
            width //= 2
            for size, dilations in zip(
                config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
            ):
                self.resblocks.append(block(width, size, dilations, activation))
        self._width = width  # of what conv_post reads

    def _first(self, mel: torch.Tensor) -> torch.Tensor:
        check_mel("Generator", mel, self.config.num_mels)
        return self.conv_pre(mel)

    def _mean_of_blocks(self, stage: int, h: torch.Tensor) -> torch.Tensor:
        n = len(self.config.resblock_kernel_sizes)
        return sum(block(h) for block in self.resblocks[stage * n : (stage + 1) * n]) / n

    def remove_weight_norm(self) -> None:
        """Turn the normed weights into plain ones of the same value, for inference."""
        remove_weight_norm(self)
