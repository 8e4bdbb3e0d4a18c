# SPDX-License-Identifier: Apache-2.0
"""SNGAN (Miyato et al. 2018): residual networks, hinge, spectral norm in D; widths for a CPU."""

from typing import Any

from fastgan.models.spectral_resnet import Config
from fastgan.training.config.run import (
    ADA_KIMG_ON_CPU,
    AugmentConfig,
    DataConfig,
    EmaConfig,
    OptimizerConfig,
    TrainConfig,
)


def recipe(
    *,
    resolution: tuple[int, int],
    img_channels: int = 3,
    c_dim: int = 0,
    gpus: int = 1,
    **overrides: Any,
) -> TrainConfig:
    """betas (0, 0.9) as in the paper. Otherwise than there: 16 channels (G 256, D 128), learning
    rates 5e-4 (2e-4), one step of D for one of G (5), batch 32 (64), a moving average of G."""
    height, width = resolution
    adam = OptimizerConfig(lr=5e-4, betas=(0.0, 0.9))
    config = TrainConfig(
        name="sngan",
        architecture="spectral_resnet",
        model=Config(
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            g_channels=16,
            d_channels=16,
            g_channel_max=64,
            d_channel_max=64,
        ),
        objective="hinge",
        data=DataConfig(use_labels=c_dim > 0),
        augment=AugmentConfig(ada_kimg=ADA_KIMG_ON_CPU),
        g_optimizer=adam,
        d_optimizer=adam,
        batch=32,
        ema=EmaConfig(half_life_kimg=5.0),
        total_kimg=1000.0,
    )
    return config.with_changes(**overrides)
