# SPDX-License-Identifier: Apache-2.0
"""R3GAN's generator."""

import torch
from torch import nn

from fastgan.models._network import LatentGenerator
from fastgan.models.r3gan.config import Config
from fastgan.models.r3gan.layers import Convolution, Linear, Stage, Transition, residual_blocks


class GenerativeBasis(nn.Module):
    """z [N, i] -> [N, o, 4, 4]: learned maps, each scaled by a linear function of z."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.Basis = nn.Parameter(torch.randn(o, 4, 4))
        self.LinearLayer = Linear(i, o)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        scales = self.LinearLayer(z)  # [N, o]
        x = self.Basis.to(z.dtype) * scales[:, :, None, None]
        return x.contiguous(memory_format=torch.channels_last)


class GeneratorModel(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        widths, features = config.widths, config.z_dim
        if config.c_dim > 0:
            features += config.g_condition_dim
        stages = []
        for i, width in enumerate(widths):
            first = Transition(config, widths[i - 1], width, True) if i else None
            first = first or GenerativeBasis(features, width)
            stages.append(Stage(config, i, [first, *residual_blocks(config, i)]))
        self.MainLayers = nn.ModuleList(stages)
        self.AggregationLayer = Convolution(widths[-1], config.img_channels, 1)
        if config.c_dim > 0:
            self.EmbeddingLayer = Linear(config.c_dim, config.g_condition_dim)

    def forward(self, z: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        x = z if c is None else torch.cat([z, self.EmbeddingLayer(c)], 1)
        for stage in self.MainLayers:
            x = stage(x, z.dtype)
        return self.AggregationLayer(x).to(z.dtype)


class Generator(LatentGenerator):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    ``truncation_psi`` scales z towards its mean 0; ``noise_mode`` is checked and has no effect, and
    ``truncation_cutoff`` and ``update_w_avg``, which published code passes, have none.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.img_channels = config.img_channels
        self.img_resolution = config.img_width
        self.Model = GeneratorModel(config)

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        *,
        noise_mode: str = "none",
        update_w_avg: bool = True,
    ) -> torch.Tensor:
        self._check_inputs(z, c, noise_mode, truncation_psi)
        z = z if truncation_psi == 1 else z * truncation_psi
        return self.Model(z, c.to(z.dtype) if self.c_dim > 0 else None)
