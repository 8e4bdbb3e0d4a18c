# SPDX-License-Identifier: Apache-2.0
"""A light GAN for few images: skip-layer excitation in G, a D that also decodes what it sees.

G: [z, c] -> base map -> (doubling, 3 × 3 convolution, batch norm, gated linear unit)* -> 3 × 3
   convolution -> tanh. The map two doublings above another is multiplied by a gate that a small
   network makes of that other (skip-layer excitation).
D: 4 × 4 convolution of stride 2, then per halving the mean of two paths: (4 × 4 convolution of
   stride 2, 3 × 3 convolution) and (average pooling, 1 × 1 convolution), each with leaky ReLU 0.2;
   a 3 × 3 convolution and a linear layer, plus <embed(c), mean of the last map> when conditional.
   A decoder makes the image, at half its size, of the map at a quarter of it (loss term
   `reconstruction`).
D has no batch norm, unlike the paper's, so that gradient penalties, which are per sample, can be
used. Sizes ceil-halve from the image to the base: G crops doubled maps, D zero-pads odd ones.
Source: Liu et al. 2021, arXiv 2101.04775, sections 3.1 and 3.2; there, gates go over four doublings
in images of 256 pixels and more. The paper's model has the name of this project by chance.
"""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from fastgan.models._checks import check_config
from fastgan.models._config import PyramidConfig
from fastgan.models._network import LatentGenerator, SampleDiscriminator
from fastgan.models._pyramid import channels_at, pad_to_even
from fastgan.nn._torch_conv import Conv2d

__all__ = ["Config", "Discriminator", "Generator"]

_REACH = 2  # doublings between a map and the map that it gates


@dataclass(frozen=True, kw_only=True)
class Config(PyramidConfig):
    """Sizes of the networks.

    Channels at a map whose longer side is at most r = 2^k: base / r, at most channel_max.

    Args:
        g_channel_base: the base of G.
        d_channel_base: the base of D.
        channel_max: the largest width.
        reconstruction: weight of D's reconstruction loss, at least 0; 0: D has no decoder.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    z_dim: int = 128
    g_channel_base: int = 1024
    d_channel_base: int = 1024
    channel_max: int = 128
    reconstruction: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self, g_channel_base=1, d_channel_base=1, channel_max=1)
        if not self.reconstruction >= 0:
            raise ValueError(f"Config: reconstruction must be >= 0, got {self.reconstruction!r}")

    def widths(self, base: int) -> list[int]:
        """Channels at every size.

        Args:
            base: g_channel_base or d_channel_base.

        Returns:
            The channels, from the base of the network on.
        """
        return [channels_at(size, base, self.channel_max) for size in self.sizes]

    @property
    def loss_terms(self) -> dict[str, float]:
        """Losses that D's further outputs are for, name of `fastgan.losses.terms` → weight."""
        has_decoder = self.reconstruction > 0 and len(self.sizes) > 2
        return {"reconstruction": self.reconstruction} if has_decoder else {}


def _gated(in_channels: int, out_channels: int) -> nn.Sequential:
    """3 × 3 convolution, batch norm, gated linear unit."""
    return nn.Sequential(
        Conv2d(in_channels, 2 * out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * out_channels),
        nn.GLU(1),
    )


class _Excitation(nn.Module):
    """The factor [N, high, 1, 1] of a map, made of a map [N, low, h, w] of lower resolution."""

    def __init__(self, low: int, high: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.pooled = tuple(min(side, 4) for side in size)
        self.squeeze = nn.Linear(low * math.prod(self.pooled), high)
        self.gate = nn.Linear(high, high)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.adaptive_avg_pool2d(x, self.pooled) if x.shape[2:] != self.pooled else x
        h = F.leaky_relu(self.squeeze(h.flatten(1)), 0.1)
        return self.gate(h).sigmoid()[:, :, None, None]


class Generator(LatentGenerator):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    ``truncation_psi`` scales z towards its mean 0; ``noise_mode`` is checked and has no effect.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sizes, widths = config.sizes, config.widths(config.g_channel_base)
        features = 2 * widths[0] * math.prod(self.sizes[0])
        self.first = nn.Linear(config.z_dim + config.c_dim, features, bias=False)
        self.first_norm = nn.BatchNorm2d(2 * widths[0])
        self.blocks = nn.ModuleList(_gated(i, o) for i, o in itertools.pairwise(widths))
        self.excitations = nn.ModuleList(
            _Excitation(low, high, size)
            for low, high, size in zip(widths, widths[_REACH:], self.sizes, strict=False)
        )
        self.to_image = Conv2d(widths[-1], config.img_channels, 3, padding=1)

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
            h = torch.cat([h, c.to(h.dtype)], 1)
        h = self.first(h)
        maps = [F.glu(self.first_norm(h.unflatten(1, (-1, *self.sizes[0]))), 1)]
        for i, (block, (height, width)) in enumerate(
            zip(self.blocks, self.sizes[1:], strict=True), start=1
        ):
            doubled = F.interpolate(maps[-1], scale_factor=2, mode="nearest")
            h = block(doubled[:, :, :height, :width])
            if i >= _REACH:
                h = h * self.excitations[i - _REACH](maps[i - _REACH])
            maps.append(h)
        return self.to_image(maps[-1]).tanh()


class _Halving(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.strided = Conv2d(in_channels, out_channels, 4, stride=2, padding=1)
        self.conv = Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = Conv2d(in_channels, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = pad_to_even(x)
        h = F.leaky_relu(self.conv(F.leaky_relu(self.strided(x), 0.2)), 0.2)
        return (h + F.leaky_relu(self.skip(F.avg_pool2d(x, 2)), 0.2)) / 2


class Discriminator(SampleDiscriminator):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1].

    With a decoder -> (logits, {"decoded", "seen"}): x at half its size, decoded and itself.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        widths = config.widths(config.d_channel_base)[::-1]
        self.from_image = Conv2d(
            config.img_channels, widths[min(1, len(widths) - 1)], 4, stride=2, padding=1
        )
        self.halvings = nn.ModuleList(_Halving(i, o) for i, o in itertools.pairwise(widths[1:]))
        self.has_decoder = bool(config.loss_terms)
        if self.has_decoder:
            self.decoder = nn.Sequential(
                Conv2d(widths[2], 2 * widths[2], 3, padding=1),
                nn.GLU(1),
                Conv2d(widths[2], 4 * config.img_channels, 3, padding=1),
                nn.PixelShuffle(2),
            )
        height, width = config.sizes[0] if len(config.sizes) > 1 else _half(config.sizes[0])
        self.conv = Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.out = nn.Linear(widths[-1] * height * width, 1)
        if config.c_dim > 0:
            self.embed = nn.Linear(config.c_dim, widths[-1], bias=False)

    def forward(
        self, x: torch.Tensor, c: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self._check_inputs(x, c)
        whole = pad_to_even(x)
        h = F.leaky_relu(self.from_image(whole), 0.2)
        features = {}
        for i, halving in enumerate(self.halvings):
            size, h = h.shape[2:], halving(h)
            if i == 0 and self.has_decoder:
                decoded = self.decoder(h)[:, :, : size[0], : size[1]].tanh()
                features = {"decoded": decoded, "seen": F.avg_pool2d(whole, 2)}
        h = F.leaky_relu(self.conv(h), 0.2)
        y = self.out(h.flatten(1))
        if self.c_dim > 0:
            y = y + (h.mean((2, 3)) * self.embed(c.to(h.dtype))).sum(1, keepdim=True)
        return (y, features) if features else y


def _half(size: tuple[int, int]) -> tuple[int, int]:
    return (size[0] + 1) // 2, (size[1] + 1) // 2
