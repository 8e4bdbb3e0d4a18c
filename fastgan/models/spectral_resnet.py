# SPDX-License-Identifier: Apache-2.0
"""SNGAN, SAGAN and BigGAN: residual networks with spectral norm, for any image size.

G: Linear -> base map -> (residual block that doubles the map by repetition)* -> batch norm, ReLU,
   3 × 3 convolution, tanh. The scales and shifts of the blocks' batch norms may come from the class
   and, with z_split, from a part of z of their own.
D: residual blocks that halve the map by averages until its shorter side is below 16, two blocks
   that keep it, ReLU, sum over the map -> Linear -> 1 logit, plus <embed(c), that sum> when
   conditional.
Spectral norm divides each weight by its largest singular value, in D and, with g_norm, in the
convolutions, the attention and the first layer of G. attention_at adds self-attention to both.
Sizes ceil-halve from the image: G crops a doubled map to the next size, D zero-pads an odd one at
the right and bottom.

SNGAN is the default: at 32 × 32 these are the networks of Miyato et al. 2018 (arXiv 1802.05957),
tables 4a and 4b, for CIFAR-10, with the projection of Miyato and Koyama 2018 (arXiv 1802.05637) and
batch norm per class of Dumoulin et al. 2017 (arXiv 1610.07629).
SAGAN (Zhang et al. 2018, arXiv 1805.08318): g_norm="spectral" and attention_at.
BigGAN (Brock et al. 2018, arXiv 1809.11096): these two, z_split, embed_dim and init="orthogonal".
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from fastgan.models._checks import check_choice, check_config
from fastgan.models._config import PyramidConfig
from fastgan.models._network import LatentGenerator, SampleDiscriminator
from fastgan.models._pyramid import pad_to_even
from fastgan.nn import SelfAttention2d
from fastgan.nn._torch_conv import Conv2d

__all__ = ["Config", "Discriminator", "Generator"]


@dataclass(frozen=True, kw_only=True)
class Config(PyramidConfig):
    """Sizes of the networks.

    Args:
        g_channels: width of G next to the image, doubled per halving up to g_channel_max.
        d_channels: the same of D, up to d_channel_max.
        g_channel_max: the largest width of G; that of SNGAN at 32 × 32 is g_channels.
        d_channel_max: the largest width of D; that of SNGAN at 32 × 32 is d_channels.
        g_norm: "none", or "spectral" as in SAGAN and BigGAN.
        d_norm: "spectral", or "none": for a penalty in its place.
        attention_at: self-attention acts on the largest map between two blocks whose shorter side
            is at most this; 0: on none.
        z_split: z is cut into equal parts, one for the base map and one for each block's batch
            norms.
        embed_dim: width of the class embedding that all batch norms of G share; 0: each has scales
            and shifts per class of its own.
        init: of the weights, "xavier" or "orthogonal"; those of conditions are N(0, 0.02²).

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    z_dim: int = 128
    g_channels: int = 256
    d_channels: int = 128
    g_channel_max: int = 256
    d_channel_max: int = 128
    g_norm: str = "none"
    d_norm: str = "spectral"
    attention_at: int = 0
    z_split: bool = False
    embed_dim: int = 0
    init: str = "xavier"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self, g_channels=1, d_channels=1, g_channel_max=1, d_channel_max=1)
        check_config(self, attention_at=0, embed_dim=0)
        check_choice(
            self, g_norm=("spectral", "none"), d_norm=("spectral", "none"),
            init=("xavier", "orthogonal"),
        )  # fmt: skip
        if self.z_split and self.z_dim < len(self.sizes):
            raise ValueError(
                f"Config: z_dim must be at least {len(self.sizes)} with z_split, a number for each "
                f"block of G and one for the base map, got {self.z_dim}"
            )

    @property
    def attention_size(self) -> tuple[int, int] | None:
        """(height, width) of the map with self-attention, or None."""
        between = self.sizes[1 : max(len(self.sizes) - 1, 2)]  # maps that both networks have
        return max((size for size in between if min(size) <= self.attention_at), default=None)

    @property
    def z_parts(self) -> list[int]:
        """Widths of the parts of z: of the base map, then of each block."""
        parts = len(self.sizes) if self.z_split else 1
        return [(self.z_dim + i) // parts for i in reversed(range(parts))]


class Generator(LatentGenerator):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    ``truncation_psi`` scales z towards its mean 0; ``noise_mode`` is checked and has no effect.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sizes = config.sizes
        self.z_parts = config.z_parts
        last = max(len(self.sizes) - 2, 0)  # the base map has the width of the first block
        widths = [
            min(config.g_channels * 2 ** max(last - i, 0), config.g_channel_max)
            for i in range(-1, len(self.sizes) - 1)
        ]
        base_h, base_w = self.sizes[0]
        self.project = nn.Linear(self.z_parts[0], widths[0] * base_h * base_w)
        conditions = config.c_dim
        if config.c_dim > 0 and config.embed_dim > 0:
            self.embed = nn.Linear(config.c_dim, config.embed_dim, bias=False)
            conditions = config.embed_dim
        parts = self.z_parts[1:] or [0] * (len(widths) - 1)
        self.blocks = nn.ModuleList(
            _UpBlock(i, o, conditions + part)
            for (i, o), part in zip(itertools.pairwise(widths), parts, strict=True)
        )
        self.norm = _BatchNorm(widths[-1], 0 if config.z_split else conditions)
        self.to_image = Conv2d(widths[-1], config.img_channels, 3, padding=1)
        self.attention_size = config.attention_size
        if self.attention_size is not None:
            at = self.sizes.index(self.attention_size)
            self.attention = SelfAttention2d(widths[at])
        _initialise(self, config.init)
        if config.g_norm == "spectral":
            _normalise(self)

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        noise_mode: str = "random",
    ) -> torch.Tensor:
        self._check_inputs(z, c, noise_mode, truncation_psi)
        z = z if truncation_psi == 1 else z * truncation_psi
        c = c.to(z.dtype) if self.c_dim > 0 else None
        if c is not None and self.config.embed_dim > 0:
            c = self.embed(c)
        first, *parts = z.split(self.z_parts, 1)
        h = self.project(first).unflatten(1, (-1, *self.sizes[0]))
        for i, (block, size) in enumerate(zip(self.blocks, self.sizes[1:], strict=True)):
            condition = c
            if parts:
                condition = parts[i] if c is None else torch.cat([parts[i], c], 1)
            h = block(h, condition, size)
            h = self.attention(h) if size == self.attention_size else h
        return self.to_image(self.norm(h, None if self.config.z_split else c).relu()).tanh()


class Discriminator(SampleDiscriminator):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        sizes = config.sizes
        halvings = max(len(sizes) - 2, 0)
        layers: list[nn.Module] = []
        channels, attention_size = config.img_channels, config.attention_size
        for i in range(halvings + 2):
            is_halving = i < halvings
            width = min(config.d_channels * 2 ** min(i, halvings), config.d_channel_max)
            layers.append(_DownBlock(channels, width, is_halving=is_halving, is_first=i == 0))
            if attention_size == sizes[-2 - i if is_halving else -1 - halvings]:
                layers.append(SelfAttention2d(width))
                attention_size = None  # the first of its maps alone
            channels = width
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(channels, 1)
        if config.c_dim > 0:
            self.embed = nn.Linear(config.c_dim, channels, bias=False)
        _initialise(self, config.init)
        if config.d_norm == "spectral":
            _normalise(self)

    def forward(self, x: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        self._check_inputs(x, c)
        h = self.layers(x).relu().sum((2, 3))  # [N, C]
        y = self.out(h)
        if self.c_dim > 0:
            y = y + (h * self.embed(c.to(h.dtype))).sum(1, keepdim=True)
        return y


class _BatchNorm(nn.Module):
    """Batch norm of a map [N, C, H, W] whose scale and shift [N, C] come from a condition."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=condition_dim == 0)
        if condition_dim > 0:
            self.scale = nn.Linear(condition_dim, channels, bias=False)
            self.shift = nn.Linear(condition_dim, channels, bias=False)

    def forward(self, x: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
        y = self.norm(x)
        if condition is None:
            return y
        scale, shift = self.scale(condition), self.shift(condition)
        return y * (1 + scale)[:, :, None, None] + shift[:, :, None, None]


class _UpBlock(nn.Module):
    """Residual block of G: a map [N, i, h, w] -> [N, o, H, W] of twice the size, cropped."""

    def __init__(self, i: int, o: int, condition_dim: int) -> None:
        super().__init__()
        self.norm0 = _BatchNorm(i, condition_dim)
        self.conv0 = Conv2d(i, o, 3, padding=1)
        self.norm1 = _BatchNorm(o, condition_dim)
        self.conv1 = Conv2d(o, o, 3, padding=1)
        self.shortcut = Conv2d(i, o, 1)

    def forward(
        self, x: torch.Tensor, condition: torch.Tensor | None, size: tuple[int, int]
    ) -> torch.Tensor:
        h = self.conv0(_double(self.norm0(x, condition).relu(), size))
        h = self.conv1(self.norm1(h, condition).relu())
        return h + _double(self.shortcut(x), size)  # a 1 × 1 convolution commutes with repetition


class _DownBlock(nn.Module):
    """Residual block of D; the first has no ReLU before it and always a learned shortcut."""

    def __init__(self, i: int, o: int, *, is_halving: bool, is_first: bool) -> None:
        super().__init__()
        self.is_halving, self.is_first = is_halving, is_first
        self.conv0 = Conv2d(i, o, 3, padding=1)
        self.conv1 = Conv2d(o, o, 3, padding=1)
        self.shortcut = Conv2d(i, o, 1) if is_halving or is_first or i != o else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = pad_to_even(x) if self.is_halving else x
        h = self.conv1(self.conv0(x if self.is_first else x.relu()).relu())
        h = F.avg_pool2d(h, 2) if self.is_halving else h
        y = F.avg_pool2d(x, 2) if self.is_halving else x  # before the 1 × 1 one: four times less
        return h + (y if self.shortcut is None else self.shortcut(y))


def _double(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """x [N, C, h, w], each pixel repeated to 2 × 2, then cropped to ``size``."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")[:, :, : size[0], : size[1]]


def _is_of_condition(name: str) -> bool:
    """Whether it is a layer of G that a class or a part of z goes through to batch norms."""
    return name.endswith((".scale", ".shift"))


def _initialise(network: nn.Module, init: str) -> None:
    """Xavier's uniform weights, times sqrt(2) within residual branches, or orthogonal ones; scales
    near 1, shifts near 0; biases 0."""
    for name, module in network.named_modules():
        if not isinstance(module, (Conv2d, nn.Linear)):
            continue
        if _is_of_condition(name):
            nn.init.normal_(module.weight, 0.0, 0.02)  # orthogonal ones are 1 wide in narrow layers
        elif init == "orthogonal":
            nn.init.orthogonal_(module.weight)
        else:
            is_branch = name.endswith(("conv0", "conv1"))
            nn.init.xavier_uniform_(module.weight, gain=2**0.5 if is_branch else 1.0)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _normalise(network: nn.Module) -> None:
    """Spectral norm of all weights but those of the conditions of G."""
    for name, module in list(network.named_modules()):
        is_weight = isinstance(module, (Conv2d, nn.Linear)) and not _is_of_condition(name)
        if is_weight and not (isinstance(network, Generator) and name == "embed"):
            spectral_norm(module)
