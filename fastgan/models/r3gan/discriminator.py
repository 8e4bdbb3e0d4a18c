# SPDX-License-Identifier: Apache-2.0
"""R3GAN's discriminator."""

import math

import torch
from torch import nn

from fastgan.models._network import SampleDiscriminator
from fastgan.models.r3gan.config import Config
from fastgan.models.r3gan.layers import (
    Convolution,
    Linear,
    Stage,
    Transition,
    residual_blocks,
    scaled_normal,
)


class DiscriminativeBasis(nn.Module):
    """x [N, i, 4, 4] -> [N, o]: one learned sum per map, then a linear layer."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.Basis = nn.Conv2d(i, i, 4, groups=i, bias=False)
        self.Basis.weight = scaled_normal(self.Basis.weight)
        self.LinearLayer = Linear(i, o)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sums = (x * self.Basis.weight[:, 0].to(x.dtype)).sum((2, 3))  # [N, i]
        return self.LinearLayer(sums)


class DiscriminatorModel(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        config = config.discriminator
        widths = config.widths[::-1]
        features = config.d_condition_dim if config.c_dim > 0 else 1
        self.ExtractionLayer = Convolution(config.img_channels, widths[0], 1)
        stages = []
        for i, width in enumerate(widths):
            stage = len(widths) - 1 - i  # as in G
            last = (
                Transition(config, width, widths[i + 1], False)
                if stage
                else DiscriminativeBasis(width, features)
            )
            stages.append(Stage(config, stage, [*residual_blocks(config, stage), last]))
        self.MainLayers = nn.ModuleList(stages)
        if config.c_dim > 0:
            self.EmbeddingLayer = Linear(config.c_dim, features, 1 / math.sqrt(features))

    def forward(self, x: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        dtype, first = x.dtype, self.MainLayers[0]
        x = self.ExtractionLayer(x.to(first.config.stage_dtype(first.stage, dtype)))
        for stage in self.MainLayers:
            x = stage(x, dtype)
        x = x.to(dtype)
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
