"""SNGAN (Miyato et al. 2018): hinge, spectral norm, five steps of D for one of G; small widths."""

from typing import Any

from fastgan.models.sngan import Config
from fastgan.training.config.run import DataConfig, EmaConfig, OptimizerConfig, TrainConfig


def recipe(
    *,
    resolution: tuple[int, int],
    img_channels: int = 3,
    c_dim: int = 0,
    gpus: int = 1,
    **overrides: Any,
) -> TrainConfig:
    """lr 2e-4, betas (0, 0.9), as in the paper; 32 channels, for a CPU, where that has 256 in G and
    128 in D; batch 32 for 64; and a moving average of G, which it has not."""
    height, width = resolution
    adam = OptimizerConfig(lr=2e-4, betas=(0.0, 0.9))
    config = TrainConfig(
        name="sngan",
        architecture="sngan",
        model=Config(
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            g_channels=32,
            d_channels=32,
            g_channel_max=128,
            d_channel_max=128,
        ),
        objective="hinge",
        n_critic=5,
        data=DataConfig(use_labels=c_dim > 0),
        g_optimizer=adam,
        d_optimizer=adam,
        batch=32,
        ema=EmaConfig(half_life_kimg=5.0),
        total_kimg=1000.0,
    )
    return config.with_changes(**overrides)
