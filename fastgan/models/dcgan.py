# SPDX-License-Identifier: Apache-2.0
"""DCGAN for any image size.

G: [z, embed(c)] -> base map -> (transposed conv k4 s2, batch norm, ReLU)* -> tanh.
D: (strided conv k4 s2, batch norm except in the first, leaky ReLU 0.2)* -> Linear -> 1 logit, plus
   the projection <embed(c), sum of the last map> when conditional. Instead, c may be constant maps
   beside the image, or D classify the image (`fastgan.models._conditioning`).
Weights start from N(0, 0.02²), batch-norm scales from N(1, 0.02²). Sizes ceil-halve from the image
to the base: G crops a doubled map to the next size, D zero-pads an odd one at the right and bottom.
Source: Radford et al. 2016; projection, Miyato and Koyama 2018.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fastgan.models._checks import check_choice, check_config
from fastgan.models._conditioning import HAS_CLASSIFIER, HAS_PROJECTION, KINDS, loss_terms
from fastgan.models._config import PyramidConfig
from fastgan.models._network import LatentGenerator, SampleDiscriminator
from fastgan.models._pyramid import pad_to_even
from fastgan.nn import FusedLeakyReLU
from fastgan.nn._torch_conv import Conv2d, ConvTranspose2d
from fastgan.ops import bias_act

__all__ = ["Config", "Discriminator", "Generator"]


@dataclass(frozen=True, kw_only=True)
class Config(PyramidConfig):
    """Sizes of the DCGAN.

    Args:
        g_channels: width of G next to the image, doubled per halving up to channel_max.
        d_channels: the same of D.
        channel_max: the largest width.
        embed_dim: width of the condition's embedding in G.
        d_norm: "batch" as in the paper, or "none": gradient penalties are per sample, so they want
            no batch statistics in D.
        conditioning: how D takes c, one of `fastgan.models._conditioning.KINDS`.
    """

    z_dim: int = 100
    g_channels: int = 64
    d_channels: int = 64
    channel_max: int = 512
    embed_dim: int = 50
    d_norm: str = "batch"
    conditioning: str = "projection"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self, g_channels=1, d_channels=1, channel_max=1, embed_dim=1)
        check_choice(self, d_norm=("batch", "none"), conditioning=KINDS)

    def widths(self, width: int) -> list[int]:
        """Channels at every size but the image's (at the base, if that is the image).

        Args:
            width: g_channels or d_channels.

        Returns:
            The channels, from the base on.
        """
        levels = max(len(self.sizes) - 1, 1)
        return [min(width * 2**i, self.channel_max) for i in reversed(range(levels))]

    @property
    def loss_terms(self) -> dict[str, dict[str, Any]]:
        """Losses that D's further outputs are for: name of `fastgan.losses.terms` → arguments."""
        return loss_terms(self)


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, (nn.Linear, Conv2d, ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)


class Generator(LatentGenerator):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    ``truncation_psi`` scales z towards its mean 0; ``noise_mode`` is checked and has no effect.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sizes = config.sizes
        widths = config.widths(config.g_channels)
        features = config.z_dim
        if config.c_dim > 0:
            self.embed = nn.Linear(config.c_dim, config.embed_dim, bias=False)
            features += config.embed_dim
        base_h, base_w = self.sizes[0]
        self.project = nn.Linear(features, widths[0] * base_h * base_w, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        if len(self.sizes) == 1:
            convs = [Conv2d(widths[0], config.img_channels, 3, padding=1)]
        else:
            outs = [*widths[1:], config.img_channels]
            convs = [
                ConvTranspose2d(i, o, 4, stride=2, padding=1, bias=False)
                for i, o in zip(widths[:-1], outs[:-1], strict=True)
            ]
            convs.append(ConvTranspose2d(widths[-1], outs[-1], 4, stride=2, padding=1))
        self.convs = nn.ModuleList(convs)
        _initialise(self)

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        noise_mode: str = "random",
    ) -> torch.Tensor:
        self._check_inputs(z, c, noise_mode, truncation_psi)
        h = z if truncation_psi == 1 else z * truncation_psi
        if self.c_dim > 0:
            h = torch.cat([h, self.embed(c.to(h.dtype))], 1)
        y = self.project(h).unflatten(1, (-1, *self.sizes[0]))
        sizes = self.sizes[1:] or self.sizes
        for norm, conv, (height, width) in zip(self.norms, self.convs, sizes, strict=True):
            y = bias_act(norm(y), act="relu", gain=1.0)
            y = conv(y)[:, :, :height, :width]
        return y.tanh()


class Discriminator(SampleDiscriminator):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1].

    With an auxiliary classifier -> (logits [N, 1], logits of the classes [N, c_dim]).
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        widths = config.widths(config.d_channels)[::-1]
        strided = len(config.sizes) > 1
        layers: list[nn.Module] = []
        kind = self._conditioning = config.conditioning if config.c_dim > 0 else "none"
        channels = config.img_channels + (config.c_dim if kind == "concatenation" else 0)
        for i, width in enumerate(widths):
            has_norm = config.d_norm == "batch" and i > 0
            if strided:
                layers.append(Conv2d(channels, width, 4, stride=2, padding=1, bias=False))
            else:
                layers.append(Conv2d(channels, width, 3, padding=1, bias=False))
            if has_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(FusedLeakyReLU(width, bias=not has_norm, scale=1.0))
            channels = width
        self.layers = nn.ModuleList(layers)
        base_h, base_w = config.sizes[0]
        self.out = nn.Linear(channels * base_h * base_w, 1)
        if kind in HAS_PROJECTION:
            self.embed = nn.Linear(config.c_dim, channels, bias=False)
        if kind in HAS_CLASSIFIER:
            self.classify = nn.Linear(self.out.in_features, config.c_dim)
        _initialise(self)

    def forward(
        self, x: torch.Tensor, c: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        self._check_inputs(x, c)
        h = x
        if self._conditioning == "concatenation":
            maps = c.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
            h = torch.cat([x, maps], 1)
        for layer in self.layers:
            is_halving = isinstance(layer, Conv2d) and layer.stride == (2, 2)
            h = layer(pad_to_even(h) if is_halving else h)
        y = self.out(h.flatten(1))
        if self._conditioning in HAS_PROJECTION:
            pooled = h.sum((2, 3))  # [N, C]
            y = y + (pooled * self.embed(c.to(h.dtype))).sum(1, keepdim=True)
        has_classifier = self._conditioning in HAS_CLASSIFIER
        return (y, self.classify(h.flatten(1))) if has_classifier else y
