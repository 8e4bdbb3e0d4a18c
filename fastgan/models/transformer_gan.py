# SPDX-License-Identifier: Apache-2.0
"""A small GAN of transformers: both networks are attention over patches of the image.

G: [z, c] -> Linear -> one token for each patch, plus a learnt place -> blocks -> the pixels, tanh.
D: pixels -> one token for each patch, plus a learnt place -> blocks -> Linear of all tokens,
   narrowed -> 1 logit, plus the projection <embed(c), mean token> when conditional.
Pixels and tokens: a Linear of each patch; or convolutions that double or halve the size, 4x4 with
stride 2, which see across the patches' edges and learn faster.
Block: x + attention(norm(x)), then x + two layers with leaky ReLU of norm(x).

The attention is `fastgan.ops.attention`, so that R1 and R2 are exact: no fused kernel of torch has
a second derivative.
Sources: Jiang et al. 2021, TransGAN, arXiv 2102.07074; Lee et al. 2022, ViTGAN,
arXiv 2107.04589; convolutions before a transformer, Xiao et al. 2021, arXiv 2106.14881; blocks as
in Dosovitskiy et al. 2021, arXiv 2010.11929; projection, Miyato and Koyama 2018.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.models._checks import check_choice, check_config
from fastgan.models._config import ImageConfig
from fastgan.models._network import LatentGenerator, SampleDiscriminator
from fastgan.nn import FusedLeakyReLU, SelfAttention
from fastgan.nn._torch_conv import Conv2d, ConvTranspose2d

__all__ = ["Config", "Discriminator", "Generator"]


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    """Sizes of the transformers.

    Args:
        patch: height and width of a patch in pixels, a divisor of the image's.
        pixels: how pixels and tokens are made of each other: "linear" (default), by patch, or
            "convolutions", with a patch that is a power of 2, at least 2.
        g_channels: width of a token in G, a multiple of heads.
        d_channels: the same of D.
        g_blocks: blocks of G, at least 1.
        d_blocks: blocks of D, at least 1.
        heads: of the attention, at least 1.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    z_dim: int = 128
    img_height: int = 32
    img_width: int = 32
    patch: int = 4
    pixels: str = "linear"
    g_channels: int = 64
    d_channels: int = 64
    g_blocks: int = 3
    d_blocks: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(
            self, patch=1, g_channels=1, d_channels=1, g_blocks=1, d_blocks=1, heads=1
        )  # fmt: skip
        for field in ("img_height", "img_width"):
            if getattr(self, field) % self.patch:
                raise ValueError(
                    f"Config: {field} must be a multiple of patch={self.patch}, got "
                    f"{getattr(self, field)}"
                )
        check_choice(self, pixels=("linear", "convolutions"))
        if self.pixels == "convolutions" and (self.patch < 2 or self.patch & (self.patch - 1)):
            raise ValueError(
                "Config: patch must be a power of 2, at least 2, with pixels='convolutions', got "
                f"{self.patch}"
            )
        for field in ("g_channels", "d_channels"):
            if getattr(self, field) % self.heads:
                raise ValueError(
                    f"Config: {field} must be a multiple of heads={self.heads}, got "
                    f"{getattr(self, field)}"
                )

    @property
    def rows(self) -> int:
        """Patches from top to bottom."""
        return self.img_height // self.patch

    @property
    def tokens(self) -> int:
        """The number of patches."""
        return self.rows * (self.img_width // self.patch)

    def widths(self, channels: int) -> list[int]:
        """Channels of the maps from tokens to pixels, both among them.

        Args:
            channels: of the tokens.

        Returns:
            The widths; each but the last is half of the one before.
        """
        halvings = range(1, self.patch.bit_length() - 1)
        return [channels, *(max(channels >> i, 1) for i in halvings), self.img_channels]


class _Block(nn.Module):
    """[N, L, C] -> [N, L, C]."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.attention = SelfAttention(channels, heads)
        self.wide, self.narrow = (
            nn.Linear(channels, 2 * channels),
            nn.Linear(2 * channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.narrow(F.leaky_relu(self.wide(self.norms[1](x)), 0.2))


def _convolutions(make: type[nn.Module], widths: list[int]) -> nn.Sequential:
    """[N, widths[0], H, W] -> [N, widths[-1], ...], each of them with half or twice the size."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(widths), 2):
        is_last = number == len(widths)
        layers.append(make(before, after, 4, stride=2, padding=1, bias=is_last))
        layers += [] if is_last else [FusedLeakyReLU(after, scale=1.0)]
    return nn.Sequential(*layers)


class Generator(LatentGenerator):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    ``truncation_psi`` scales z towards its mean 0; ``noise_mode`` is checked and has no effect.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        width, tokens = config.g_channels, config.tokens
        self.first = nn.Linear(config.z_dim + config.c_dim, width * tokens)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.blocks = nn.Sequential(
            *(_Block(width, config.heads) for _ in range(config.g_blocks)), nn.LayerNorm(width)
        )
        if config.pixels == "linear":
            self.last = nn.Linear(width, config.img_channels * config.patch**2)
        else:
            self.last = _convolutions(ConvTranspose2d, config.widths(width))

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        noise_mode: str = "random",
    ) -> Tensor:
        self._check_inputs(z, c, noise_mode, truncation_psi)
        h = z if truncation_psi == 1 else z * truncation_psi
        if self.c_dim > 0:
            h = torch.cat([h, c.to(h.dtype)], 1)
        tokens = self.first(h).unflatten(1, self.place.shape) + self.place.to(h.dtype)
        tokens, config = self.blocks(tokens), self.config
        if config.pixels == "convolutions":
            return self.last(tokens.mT.unflatten(2, (config.rows, -1))).tanh()
        patches = self.last(tokens).mT  # [N, numbers of a patch, L]
        size = (config.img_height, config.img_width)
        return F.fold(patches, size, config.patch, stride=config.patch).tanh()


class Discriminator(SampleDiscriminator):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        width, tokens = config.d_channels, config.tokens
        if config.pixels == "linear":
            self.first = nn.Linear(config.img_channels * config.patch**2, width)
        else:
            self.first = _convolutions(Conv2d, config.widths(width)[::-1])
        self.place = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.blocks = nn.Sequential(
            *(_Block(width, config.heads) for _ in range(config.d_blocks)), nn.LayerNorm(width)
        )
        self.narrow = nn.Linear(width, 16)
        self.last = nn.Linear(16 * tokens, 1)
        if config.c_dim > 0:
            self.embed = nn.Linear(config.c_dim, width, bias=False)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        self._check_inputs(x, c)
        if self.config.pixels == "convolutions":
            tokens = self.first(x).flatten(2).mT
        else:
            patch = self.config.patch
            patches = F.unfold(x, patch, stride=patch).mT  # [N, L, numbers of a patch]
            tokens = self.first(patches)
        h = self.blocks(tokens + self.place.to(x.dtype))
        y = self.last(F.leaky_relu(self.narrow(h), 0.2).flatten(1))
        if self.c_dim > 0:
            y = y + (h.mean(1) * self.embed(c.to(h.dtype))).sum(1, keepdim=True)
        return y
