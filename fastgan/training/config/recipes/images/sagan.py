# SPDX-License-Identifier: Apache-2.0
"""SAGAN (Zhang et al. 2018): the recipe sngan with self-attention, and spectral norm in G too."""

from typing import Any

from fastgan.training.config.recipes.images.sngan import recipe as sngan
from fastgan.training.config.run import TrainConfig


def recipe(
    *,
    resolution: tuple[int, int],
    img_channels: int = 3,
    c_dim: int = 0,
    gpus: int = 1,
    **overrides: Any,
) -> TrainConfig:
    """Attention on maps of 8 × 8, a quarter of an image of 32 (of 128 in the paper). D learns
    faster than G, as there (1e-4, 4e-4). The rest is that of the recipe sngan."""
    config = sngan(resolution=resolution, img_channels=img_channels, c_dim=c_dim, gpus=gpus)
    config = config.with_changes(
        name="sagan",
        model={"g_norm": "spectral", "attention_at": 8},
        g_optimizer={"lr": 5e-4},
        d_optimizer={"lr": 1e-3},
    )
    return config.with_changes(**overrides)
