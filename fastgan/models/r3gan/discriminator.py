"""R3GAN's discriminator."""

import math

import torch
from torch import nn

from fastgan.models._network import SampleDiscriminator
from fastgan.models.r3gan.config import Config
from fastgan.models.r3gan.layers import (
    Convolution,
    Stage,
    Transition,
    linear,
    residual_blocks,
    scaled_normal,
)


class DiscriminativeBasis(nn.Module):
    """x [N, i, 4, 4] -> [N, o]: one learned sum per map, then a linear layer."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.Basis = nn.Conv2d(i, i, 4, groups=i, bias=False)
        self.Basis.weight = scaled_normal(self.Basis.weight)
        self.LinearLayer = linear(i, o)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sums = (x * self.Basis.weight[:, 0].to(x.dtype)).sum((2, 3))  # [N, i]
        return self.LinearLayer(sums)


class DiscriminatorModel(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = config.widths[::-1]
        o = 1
        if config.c_dim > 0:
            o = config.condition_dim
            self.EmbeddingLayer = linear(config.c_dim, o, 1 / math.sqrt(o))
        stages = []
        for i, width in enumerate(widths):
            is_last = i == len(widths) - 1
            last = (
                DiscriminativeBasis(width, o)
                if is_last
                else Transition(width, widths[i + 1], False)
            )
            stages.append(Stage([*residual_blocks(config, len(widths) - 1 - i), last]))
        self.MainLayers = nn.ModuleList(stages)
        self.ExtractionLayer = Convolution(config.img_channels, widths[0], 1)

    def forward(self, x: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        x = self.ExtractionLayer(x)
        for stage in self.MainLayers:
            x = stage(x)
        return x if c is None else (x * self.EmbeddingLayer(c)).sum(1, keepdim=True)


class Discriminator(SampleDiscriminator):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.Model = DiscriminatorModel(config)

    def forward(self, x: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        self._check_inputs(x, c)
        x = x.contiguous(memory_format=torch.channels_last)
        return self.Model(x, c.to(x.dtype) if self.c_dim > 0 else None)
