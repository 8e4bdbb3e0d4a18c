# SPDX-License-Identifier: Apache-2.0
"""Fully connected GAN on data of any shape.

G: [z, c] -> (Linear, optional batch norm, leaky ReLU 0.2)* -> Linear -> tanh or identity.
D: [x, c] -> (Linear, optional batch or spectral norm, leaky ReLU 0.2)* -> Linear -> 1 logit.
D may instead take c by projection, or classify x (`fastgan.models._conditioning`).
Source: Goodfellow et al. 2014; conditions by concatenation, Mirza and Osindero 2014; spectral
norm, Miyato et al. 2018.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from fastgan.models._checks import check_choice
from fastgan.models._conditioning import HAS_CLASSIFIER, HAS_PROJECTION, KINDS, loss_terms
from fastgan.models._config import ImageConfig
from fastgan.models._network import LatentGenerator, SampleDiscriminator
from fastgan.nn import FusedLeakyReLU

__all__ = ["Config", "Discriminator", "Generator"]


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    """Sizes of the MLP GAN.

    Args:
        data_shape: shape of one sample; None: (img_channels, img_height, img_width).
        g_hidden: widths of G's hidden layers.
        d_hidden: widths of D's hidden layers.
        g_norm: "none" or "batch".
        d_norm: "none", "batch" or "spectral"; gradient penalties are per sample, so they want no
            batch statistics.
        output_activation: "tanh" for samples in [-1, 1], "linear" for unbounded ones.
        conditioning: how D takes c, one of `fastgan.models._conditioning.KINDS`.

    Raises:
        ValueError: for a width or side below 1, or a choice that does not exist.
    """

    z_dim: int = 64
    img_channels: int = 1
    img_height: int = 28
    img_width: int = 28
    data_shape: tuple[int, ...] | None = None
    g_hidden: tuple[int, ...] = (256, 256)
    d_hidden: tuple[int, ...] = (256, 256)
    g_norm: str = "none"
    d_norm: str = "none"
    output_activation: str = "tanh"
    conditioning: str = "concatenation"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(
            self,
            g_norm=("none", "batch"),
            d_norm=("none", "batch", "spectral"),
            output_activation=("tanh", "linear"),
            conditioning=KINDS,
        )
        for field in ("g_hidden", "d_hidden", "data_shape"):
            value = getattr(self, field)
            if value is None:
                continue
            object.__setattr__(self, field, tuple(value))  # JSON gives lists
            if any(not isinstance(n, int) or n < 1 for n in value):
                raise ValueError(f"Config: {field} must hold integers >= 1, got {value!r}")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        if self.data_shape is not None:
            return self.data_shape
        return self.img_channels, self.img_height, self.img_width

    @property
    def loss_terms(self) -> dict[str, dict[str, Any]]:
        """Losses that D's further outputs are for: name of `fastgan.losses.terms` → arguments."""
        return loss_terms(self)


def _normed(linear: nn.Linear, norm: str) -> nn.Module:
    return spectral_norm(linear) if norm == "spectral" else linear


def _hidden_layers(features: int, widths: tuple[int, ...], norm: str) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width in widths:
        layers.append(_normed(nn.Linear(features, width, bias=False), norm))
        if norm == "batch":
            layers.append(nn.BatchNorm1d(width))
        layers.append(FusedLeakyReLU(width, bias=norm != "batch", scale=1.0))
        features = width
    return layers


class Generator(LatentGenerator):
    """z [N, z_dim], c [N, c_dim] or None -> samples [N, *config.sample_shape].

    ``truncation_psi`` scales z towards its mean 0; ``noise_mode`` is checked and has no effect.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        features = (config.z_dim + config.c_dim, *config.g_hidden)[-1]
        self.layers = nn.Sequential(
            *_hidden_layers(config.z_dim + config.c_dim, config.g_hidden, config.g_norm),
            nn.Linear(features, math.prod(config.sample_shape)),
        )

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
        y = self.layers(h)
        if self.config.output_activation == "tanh":
            y = y.tanh()
        return y.unflatten(1, self.config.sample_shape)


class Discriminator(SampleDiscriminator):
    """x [N, *config.sample_shape], c [N, c_dim] or None -> logits [N, 1].

    With an auxiliary classifier -> (logits [N, 1], logits of the classes [N, c_dim]).
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        inputs = math.prod(config.sample_shape)
        kind = self._conditioning = config.conditioning if config.c_dim > 0 else "none"
        if kind == "concatenation":
            inputs += config.c_dim
        width = (inputs, *config.d_hidden)[-1]
        norm = config.d_norm
        last = _normed(nn.Linear(width, 1), norm)
        self.layers = nn.Sequential(*_hidden_layers(inputs, config.d_hidden, norm), last)
        if kind in HAS_PROJECTION:
            self.embed = _normed(nn.Linear(config.c_dim, width, bias=False), norm)
        if kind in HAS_CLASSIFIER:
            self.classify = _normed(nn.Linear(width, config.c_dim), norm)

    def forward(
        self, x: torch.Tensor, c: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        self._check_inputs(x, c)
        h = x.flatten(1)
        if self._conditioning == "concatenation":
            h = torch.cat([h, c.to(h.dtype)], 1)
        h = self.layers[:-1](h)
        y = self.layers[-1](h)
        if self._conditioning in HAS_PROJECTION:
            y = y + (h * self.embed(c.to(h.dtype))).sum(1, keepdim=True)
        return (y, self.classify(h)) if self._conditioning in HAS_CLASSIFIER else y
