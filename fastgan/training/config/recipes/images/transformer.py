# SPDX-License-Identifier: Apache-2.0
"""A small GAN of transformers with RpGAN, R1 and R2 (arXiv 2501.05441)."""

from typing import Any

from fastgan.models.transformer_gan import Config
from fastgan.training.config.run import (
    ADA_KIMG_ON_CPU,
    AugmentConfig,
    DataConfig,
    EmaConfig,
    OptimizerConfig,
    TrainConfig,
)

RESOLUTION = (32, 32)


def recipe(
    *,
    resolution: tuple[int, int],
    img_channels: int = 3,
    c_dim: int = 0,
    gpus: int = 1,
    **overrides: Any,
) -> TrainConfig:
    """About 8 by 8 patches, convolutions between them and the pixels, and exact penalties through
    the attention."""
    height, width = resolution
    optimizer = OptimizerConfig(lr=1e-3, betas=(0.0, 0.99))
    patch = 1
    while 16 * patch <= min(resolution) and height % (2 * patch) == width % (2 * patch) == 0:
        patch *= 2
    config = TrainConfig(
        name="transformer",
        architecture="transformer_gan",
        model=Config(
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            patch=patch,
            pixels="linear" if patch == 1 else "convolutions",
            heads=2,
        ),
        objective="relativistic",
        data=DataConfig(use_labels=c_dim > 0),
        augment=AugmentConfig(ada_kimg=ADA_KIMG_ON_CPU),
        g_optimizer=optimizer,
        d_optimizer=optimizer,
        batch=16,
        r1_gamma=1.0,
        r2_gamma=1.0,
        d_reg_interval=8,
        ema=EmaConfig(half_life_kimg=5.0),
        total_kimg=1000.0,
    )
    return config.with_changes(**overrides)
