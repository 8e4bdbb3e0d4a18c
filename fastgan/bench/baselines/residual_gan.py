# SPDX-License-Identifier: Apache-2.0
"""A small convolutional GAN of the kind of R3GAN, written once over two sets of ops.

Residual blocks without normalisation, x + conv1(act(conv3 in groups of 16(act(conv1(x))))), twice a
stage; FIR [1, 2, 1] resampling; a learned basis of 4 × 4 in G and its mirror in D. "native" is
fastgan.ops in channels_last; "composed" the eager ops of `baselines/stylegan2.py`, contiguous.
Source: Huang et al., "The GAN is dead; long live the GAN! A Modern Baseline GAN" (2024),
arXiv 2501.05441, section 4 and appendix.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.bench.baselines import stylegan2 as composed
from fastgan.ops import bias_act, conv2d, upfirdn2d

GROUP_WIDTH, EXPANSION = 16, 2


@dataclass(frozen=True, kw_only=True)
class Config:
    """`widths` [stages]: channels from 4 × 4 up, each stage twice as large as the one before."""

    widths: tuple[int, ...] = (256, 256, 128, 64)
    blocks: int = 2
    z_dim: int = 64
    c_dim: int = 0
    is_native: bool = True

    @property
    def img_height(self) -> int:
        return 4 * 2 ** (len(self.widths) - 1)

    @property
    def img_width(self) -> int:
        return self.img_height

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.is_native else torch.contiguous_format


class Conv(nn.Module):
    """k × k without bias, He initialisation times `gain`."""

    def __init__(self, config: Config, i: int, o: int, k: int = 1, groups: int = 1, gain=1.0):
        super().__init__()
        w = torch.randn(o, i // groups, k, k) * (gain / math.sqrt(i // groups * k * k))
        self.weight = nn.Parameter(w.contiguous(memory_format=config.memory_format))
        self.groups, self.is_native = groups, config.is_native

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight.to(x.dtype)
        run = conv2d if self.is_native else F.conv2d
        return run(x, w, padding=w.shape[-1] // 2, groups=self.groups)


class BiasAct(nn.Module):
    """lrelu 0.2 of x + b."""

    def __init__(self, config: Config, channels: int):
        super().__init__()
        self.bias, self.is_native = nn.Parameter(torch.zeros(channels)), config.is_native

    def forward(self, x: Tensor) -> Tensor:
        if self.is_native:
            return bias_act(x, self.bias, act="lrelu", gain=1.0)
        return composed.bias_act(x, self.bias.to(x.dtype), "lrelu", 1.0, None)


class Resample(nn.Module):
    """[1, 2, 1] up- or down-sampling by 2, and a 1 × 1 convolution at the lower resolution."""

    def __init__(self, config: Config, i: int, o: int, is_up: bool):
        super().__init__()
        f = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("filter", f.outer(f) / 16)
        self.is_up, self.is_native = is_up, config.is_native
        self.conv = Conv(config, i, o) if i != o else None

    def forward(self, x: Tensor) -> Tensor:
        if self.is_up:
            x = x if self.conv is None else self.conv(x)
            return self.fir(x, 2, 1, (2, 0), 4.0)
        x = self.fir(x, 1, 2, (1, 1), 1.0)
        return x if self.conv is None else self.conv(x)

    def fir(self, x: Tensor, up: int, down: int, padding: tuple[int, int], gain: float) -> Tensor:
        if self.is_native:
            return upfirdn2d(x, self.filter, up, down, (*padding, *padding), gain=gain)
        return composed.upfirdn2d(x, self.filter, up, down, padding, gain)


class Block(nn.Module):
    def __init__(self, config: Config, c: int):
        super().__init__()
        hidden = EXPANSION * c
        self.layers = nn.Sequential(
            Conv(config, c, hidden),
            BiasAct(config, hidden),
            Conv(config, hidden, hidden, 3, hidden // GROUP_WIDTH),
            BiasAct(config, hidden),
            Conv(config, hidden, c, gain=0.1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Generator(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.z_dim, self.c_dim, self.config = config.z_dim, 0, config
        first = config.widths[0]
        self.basis = nn.Parameter(torch.randn(first, 4, 4))
        self.linear = nn.Parameter(torch.randn(first, config.z_dim) / math.sqrt(config.z_dim))
        layers: list[nn.Module] = []
        for previous, width in zip((first, *config.widths), config.widths, strict=False):
            if layers:
                layers.append(Resample(config, previous, width, is_up=True))
            layers += [Block(config, width) for _ in range(config.blocks)]
        self.body = nn.Sequential(*layers)
        self.aggregate = Conv(config, config.widths[-1], 3)

    def forward(self, z: Tensor, c: None = None) -> Tensor:
        x = F.linear(z, self.linear)[:, :, None, None] * self.basis
        x = x.contiguous(memory_format=self.config.memory_format)
        return self.aggregate(self.body(x)).contiguous()


class Discriminator(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        widths = config.widths[::-1]
        self.extract = Conv(config, 3, widths[0])
        layers: list[nn.Module] = []
        for previous, width in zip((widths[0], *widths), widths, strict=False):
            if layers:
                layers.append(Resample(config, previous, width, is_up=False))
            layers += [Block(config, width) for _ in range(config.blocks)]
        self.body = nn.Sequential(*layers)
        self.basis = nn.Parameter(torch.randn(widths[-1], 1, 4, 4) / 4)
        self.linear = nn.Parameter(torch.randn(1, widths[-1]) / math.sqrt(widths[-1]))

    def forward(self, x: Tensor, c: None = None) -> Tensor:
        x = x.contiguous(memory_format=self.config.memory_format)
        y = F.conv2d(self.body(self.extract(x)), self.basis, groups=self.basis.shape[0])
        return F.linear(y.flatten(1), self.linear)
