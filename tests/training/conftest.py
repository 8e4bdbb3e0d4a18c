# SPDX-License-Identifier: Apache-2.0
"""Tiny networks and data: a training step in about a millisecond."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from fastgan import sample_rng
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.state import create_state


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    z_dim: int = 5
    c_dim: int = 0
    img_channels: int = 3
    img_height: int = 8
    img_width: int = 7
    data_shape: tuple[int, ...] | None = None


class TinyG(nn.Module):
    """A mapping with a moving average in a buffer, and a synthesis of three layers' latents."""

    num_ws, w_dim = 3, 6

    def __init__(self, config: TinyConfig):
        super().__init__()
        self.config, self.z_dim, self.c_dim = config, config.z_dim, config.c_dim
        self.shape = (config.img_channels, config.img_height, config.img_width)
        self.fc = nn.Linear(config.z_dim + config.c_dim, self.w_dim)
        self.out = nn.Linear(self.num_ws * self.w_dim, torch.Size(self.shape).numel())
        self.register_buffer("w_avg", torch.zeros(self.w_dim))

    def mapping(self, z, c=None):
        w = self.fc(z if c is None else torch.cat([z, c], 1)).tanh()
        if self.training:
            self.w_avg.lerp_(w.detach().mean(0).to(self.w_avg), 0.1)
        return w[:, None].repeat(1, self.num_ws, 1)

    def synthesis(self, ws, noise_mode="random"):
        x = self.out(ws.flatten(1))
        if noise_mode == "random":
            x = x + 0.1 * sample_rng.normal_like(x)
        return x.tanh().unflatten(1, self.shape)

    def forward(self, z, c=None, *, truncation_psi=1.0, noise_mode="random"):
        return self.synthesis(self.mapping(z, c), noise_mode)


class TinyD(nn.Module):
    def __init__(self, config: TinyConfig):
        super().__init__()
        self.conv = nn.Conv2d(config.img_channels, 4, 3)
        size = 4 * (config.img_height - 2) * (config.img_width - 2)
        self.out = nn.Linear(size + config.c_dim, 1)

    def forward(self, x, c=None):
        h = nn.functional.softplus(self.conv(x)).flatten(1)
        return self.out(h if c is None else torch.cat([h, c], 1))


class TinyLoader:
    """Random images whose values depend on the position alone."""

    def __init__(self, config: TrainConfig):
        self.config = config

    def batch_at(self, position):
        model, n = self.config.model, self.config.batch
        generator = torch.Generator().manual_seed(position)
        shape = model.data_shape or (model.img_channels, model.img_height, model.img_width)
        x = torch.rand([n, *shape], generator=generator) * 2 - 1
        c = torch.eye(model.c_dim)[torch.arange(n) % model.c_dim] if model.c_dim else None
        return x, c


class Tiny:
    """Makes configurations, states and batches of the tiny networks."""

    Config, G, D, Loader = TinyConfig, TinyG, TinyD, TinyLoader

    def config(self, *, model=None, **changes) -> TrainConfig:
        settings = {"name": "tiny", "architecture": "mlp", "batch": 4} | changes
        return TrainConfig(model=model or TinyConfig(), **settings)

    def state(self, config: TrainConfig, *, grid_c=None):
        torch.manual_seed(config.seed)
        state = create_state(config, TinyG(config.model), TinyD(config.model), grid_c=grid_c)
        self.hold_out(state)
        return state

    def hold_out(self, state, dtype=torch.float32) -> None:
        """Gives ADA images that are not trained on, where it compares with them."""
        if state.ada is not None and state.ada.boundary is None:
            x, c = TinyLoader(state.config).batch_at(10**6)
            state.ada.hold(x.to(dtype), c)

    def batch(self, config: TrainConfig, position: int = 0) -> Batch:
        return Batch(*TinyLoader(config).batch_at(position))


@pytest.fixture
def tiny() -> Tiny:
    return Tiny()
