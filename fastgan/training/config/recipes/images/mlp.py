# SPDX-License-Identifier: Apache-2.0
"""Fully connected networks with the relativistic objective, for vectors and small images."""

from typing import Any

from fastgan.models.mlp import Config
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
    img_channels: int = 1,
    c_dim: int = 0,
    gpus: int = 1,
    **overrides: Any,
) -> TrainConfig:
    """RpGAN with R1 and R2 in every step (Huang et al. 2024, arXiv 2501.05441).

    For vectors, override `model={"data_shape": (n,), "output_activation": "linear"}` and give
    `train` a `loader`.
    """
    height, width = resolution
    adam = OptimizerConfig(lr=1e-3, betas=(0.0, 0.99))
    config = TrainConfig(
        name="mlp",
        architecture="mlp",
        model=Config(
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            g_hidden=(256, 256, 256),
            d_hidden=(256, 256, 256),
        ),
        objective="relativistic",
        data=DataConfig(use_labels=c_dim > 0),
        augment=AugmentConfig(ada_kimg=ADA_KIMG_ON_CPU),
        g_optimizer=adam,
        d_optimizer=adam,
        batch=64,
        r1_gamma=1.0,
        r2_gamma=1.0,
        ema=EmaConfig(half_life_kimg=5.0),
        total_kimg=250.0,
        tick_kimg=10.0,
    )
    return config.with_changes(**overrides)
