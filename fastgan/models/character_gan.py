# SPDX-License-Identifier: Apache-2.0
"""A GAN of words: G draws one letter for each place by the straight-through Gumbel softmax.

G: z -> Linear -> residual convolutions over the places -> one logit for each letter -> one-hot.
D: one-hot -> convolution -> residual convolutions -> Linear, leaky ReLU 0.2, Linear -> 1 logit.

A letter is drawn in training and afterwards alike: argmax of logits + Gumbel noise, which has the
distribution softmax(logits); its gradient is that of softmax((logits + noise) / temperature). D so
sees one-hot vectors only, and can't tell the real ones by that alone.
Source: Jang et al. 2017, arXiv 1611.01144; Kusner and Hernández-Lobato 2016, arXiv 1611.04051.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.models._checks import check_config, check_latents, check_samples
from fastgan.models._gumbel import draw_one_hot
from fastgan.models._network import Network
from fastgan.nn._torch_conv import Conv1d

__all__ = ["Config", "Discriminator", "Generator"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the GAN of words.

    Args:
        alphabet: the letters, in the order of their codes; the code after them is "no letter", at
            the end of a word.
        length: the most letters of a word, at least 1.
        z_dim: width of the noise z that G takes, at least 1.
        channels: of the convolutions of G and D, at least 1.
        blocks: residual blocks of G and of D, at least 0.
        temperature: of the softmax whose gradient G has, > 0.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    alphabet: str = "abcdefghijklmnopqrstuvwxyz"
    length: int = 8
    z_dim: int = 64
    channels: int = 128
    blocks: int = 2
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_config(self, length=1, z_dim=1, channels=1, blocks=0)
        if len(set(self.alphabet)) != len(self.alphabet) or not self.alphabet:
            raise ValueError(f"Config: alphabet must hold each letter once, got {self.alphabet!r}")
        if not self.temperature > 0:
            raise ValueError(f"Config: temperature must be positive, got {self.temperature!r}")

    @property
    def data_shape(self) -> tuple[int, int]:
        """Shape of one sample, (length, letters + 1)."""
        return self.length, len(self.alphabet) + 1


class _Block(nn.Module):
    """x + two convolutions of x; x itself at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Conv1d(channels, channels, 3, padding=1)
        self.second = Conv1d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.2)), 0.2))


class Generator(Network):
    """z [N, z_dim] -> one-hot words [N, length, letters + 1], drawn anew by each call."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.z_dim, self.c_dim = config.z_dim, 0
        channels, (length, letters) = config.channels, config.data_shape
        self.first = nn.Linear(config.z_dim, channels * length)
        self.blocks = nn.Sequential(*(_Block(channels) for _ in range(config.blocks)))
        self.last = Conv1d(channels, letters, 1)

    def logits(self, z: Tensor) -> Tensor:
        """The logarithms of the letters' probabilities, up to a constant for each place.

        Args:
            z: [N, z_dim], drawn from N(0, 1).

        Returns:
            [N, length, letters + 1].
        """
        check_latents("Generator", z, self.z_dim)
        h = self.first(z).unflatten(1, (self.config.channels, self.config.length))
        h = F.leaky_relu(self.blocks(h), 0.2)
        return self.last(h).transpose(1, 2)  # [N, length, letters + 1]

    def forward(self, z: Tensor) -> Tensor:
        return draw_one_hot(self.logits(z), temperature=self.config.temperature)


class Discriminator(Network):
    """x [N, length, letters + 1] -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.c_dim = 0
        channels, (length, letters) = config.channels, config.data_shape
        self.first = Conv1d(letters, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(_Block(channels) for _ in range(config.blocks)))
        self.hidden = nn.Linear(channels * length, channels)
        self.last = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_samples("Discriminator", x, self.config.data_shape)
        h = self.blocks(self.first(x.transpose(1, 2)))
        h = self.hidden(F.leaky_relu(h, 0.2).flatten(1))
        return self.last(F.leaky_relu(h, 0.2))
