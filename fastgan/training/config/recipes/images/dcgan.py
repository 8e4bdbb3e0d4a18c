# SPDX-License-Identifier: Apache-2.0
"""DCGAN (Radford et al. 2016) with the non-saturating objective, Adam as in the paper."""

from typing import Any

from fastgan.models.dcgan import Config
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
    """lr 2e-4, betas (0.5, 0.999). D has no normalisation and lazy R1 instead of the paper's batch
    norm, whose statistics a per-sample penalty does not go with (Mescheder et al. 2018)."""
    height, width = resolution
    adam = OptimizerConfig(lr=2e-4, betas=(0.5, 0.999))
    config = TrainConfig(
        name="dcgan",
        architecture="dcgan",
        model=Config(
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            g_channels=32,
            d_channels=32,
            channel_max=256,
            d_norm="none",
        ),
        objective="non_saturating",
        data=DataConfig(use_labels=c_dim > 0),
        augment=AugmentConfig(ada_kimg=ADA_KIMG_ON_CPU),
        g_optimizer=adam,
        d_optimizer=adam,
        batch=32,
        r1_gamma=0.1,
        d_reg_interval=4,
        ema=EmaConfig(half_life_kimg=5.0),
        total_kimg=1000.0,
    )
    return config.with_changes(**overrides)
