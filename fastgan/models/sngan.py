"""SNGAN: residual networks, with spectral norm in D, for any image size.

G: Linear -> base map -> (residual block that doubles the map by repetition)* -> batch norm, ReLU,
   3 × 3 convolution, tanh. Batch norm has one scale and shift per class when conditional.
D: residual blocks that halve the map by averages until its shorter side is below 16, two blocks
   that keep it, ReLU, sum over the map -> Linear -> 1 logit, plus <embed(c), that sum> when
   conditional. Every weight is divided by its largest singular value.
At 32 × 32 with 256 and 128 channels these are the paper's networks for CIFAR-10. Sizes ceil-halve
from the image: G crops a doubled map to the next size, D zero-pads an odd one at the right and
bottom.
Source: Miyato et al. 2018 (arXiv 1802.05957), tables 4a and 4b; projection, Miyato and Koyama 2018
(arXiv 1802.05637); batch norm per class, Dumoulin et al. 2017 (arXiv 1610.07629).
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
from fastgan.nn._torch_conv import Conv2d

__all__ = ["Config", "Discriminator", "Generator"]


@dataclass(frozen=True, kw_only=True)
class Config(PyramidConfig):
    """Sizes of the networks.

    Args:
        g_channels: width of G next to the image, doubled per halving up to g_channel_max.
        d_channels: the same of D, up to d_channel_max.
        g_channel_max: the largest width of G; that of the paper at 32 × 32 is g_channels.
        d_channel_max: the largest width of D; that of the paper at 32 × 32 is d_channels.
        d_norm: "spectral" as in the paper, or "none": for a penalty in its place.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    z_dim: int = 128
    g_channels: int = 256
    d_channels: int = 128
    g_channel_max: int = 256
    d_channel_max: int = 128
    d_norm: str = "spectral"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self, g_channels=1, d_channels=1, g_channel_max=1, d_channel_max=1)
        check_choice(self, d_norm=("spectral", "none"))


class Generator(LatentGenerator):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    ``truncation_psi`` scales z towards its mean 0; ``noise_mode`` is checked and has no effect.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sizes = config.sizes
        last = max(len(self.sizes) - 2, 0)  # the base map has the width of the first block
        widths = [
            min(config.g_channels * 2 ** max(last - i, 0), config.g_channel_max)
            for i in range(-1, len(self.sizes) - 1)
        ]
        base_h, base_w = self.sizes[0]
        self.project = nn.Linear(config.z_dim, widths[0] * base_h * base_w)
        self.blocks = nn.ModuleList(
            _UpBlock(i, o, config.c_dim) for i, o in itertools.pairwise(widths)
        )
        self.norm = _BatchNorm(widths[-1], config.c_dim)
        self.to_image = Conv2d(widths[-1], config.img_channels, 3, padding=1)
        _initialise(self)

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        noise_mode: str = "random",
    ) -> torch.Tensor:
        self._check_inputs(z, c, noise_mode)
        h = z if truncation_psi == 1 else z * truncation_psi
        c = c.to(z.dtype) if self.c_dim > 0 else None
        h = self.project(h).unflatten(1, (-1, *self.sizes[0]))
        for block, size in zip(self.blocks, self.sizes[1:], strict=True):
            h = block(h, c, size)
        return self.to_image(self.norm(h, c).relu()).tanh()


class Discriminator(SampleDiscriminator):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        halvings = max(len(config.sizes) - 2, 0)
        blocks, channels = [], config.img_channels
        for i in range(halvings + 2):
            is_halving = i < halvings
            width = min(config.d_channels * 2 ** min(i, halvings), config.d_channel_max)
            blocks.append(_DownBlock(channels, width, is_halving=is_halving, is_first=i == 0))
            channels = width
        self.blocks = nn.ModuleList(blocks)
        self.out = nn.Linear(channels, 1)
        if config.c_dim > 0:
            self.embed = nn.Linear(config.c_dim, channels, bias=False)
        _initialise(self)
        if config.d_norm == "spectral":
            for module in list(self.modules()):
                if isinstance(module, (Conv2d, nn.Linear)):
                    spectral_norm(module)

    def forward(self, x: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        self._check_inputs(x, c)
        h = x
        for block in self.blocks:
            h = block(h)
        h = h.relu().sum((2, 3))  # [N, C]
        y = self.out(h)
        if self.c_dim > 0:
            y = y + (h * self.embed(c.to(h.dtype))).sum(1, keepdim=True)
        return y


class _BatchNorm(nn.Module):
    """Batch norm of a map [N, C, H, W] whose scale and shift [N, C] come from the class."""

    def __init__(self, channels: int, c_dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=c_dim == 0)
        if c_dim > 0:
            self.scale = nn.Linear(c_dim, channels, bias=False)
            self.shift = nn.Linear(c_dim, channels, bias=False)

    def forward(self, x: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        y = self.norm(x)
        if c is not None:
            y = y * self.scale(c)[:, :, None, None] + self.shift(c)[:, :, None, None]
        return y


class _UpBlock(nn.Module):
    """Residual block of G: a map [N, i, h, w] -> [N, o, H, W] of twice the size, cropped."""

    def __init__(self, i: int, o: int, c_dim: int) -> None:
        super().__init__()
        self.norm0 = _BatchNorm(i, c_dim)
        self.conv0 = Conv2d(i, o, 3, padding=1)
        self.norm1 = _BatchNorm(o, c_dim)
        self.conv1 = Conv2d(o, o, 3, padding=1)
        self.shortcut = Conv2d(i, o, 1)

    def forward(
        self, x: torch.Tensor, c: torch.Tensor | None, size: tuple[int, int]
    ) -> torch.Tensor:
        h = self.conv0(_double(self.norm0(x, c).relu(), size))
        h = self.conv1(self.norm1(h, c).relu())
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


def _initialise(network: nn.Module) -> None:
    """Xavier's uniform weights, times sqrt(2) within residual branches; scales near 1, shifts 0."""
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and not module.norm.affine:
            nn.init.normal_(module.scale.weight, 1.0, 0.02)
            nn.init.zeros_(module.shift.weight)
        elif isinstance(module, (Conv2d, nn.Linear)) and not name.endswith((".scale", ".shift")):
            is_branch = name.endswith(("conv0", "conv1"))
            nn.init.xavier_uniform_(module.weight, gain=2**0.5 if is_branch else 1.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
