# SPDX-License-Identifier: Apache-2.0
"""At most some 200 images: a light GAN with skip-layer excitation, under DiffAugment."""

from typing import Any

from fastgan.models.light_gan import Config
from fastgan.training.config.run import (
    ADA_KIMG_ON_CPU,
    AugmentConfig,
    DataConfig,
    EmaConfig,
    OptimizerConfig,
    TrainConfig,
)

RESOLUTION = (32, 32)
DATA_OPTIONS = {"built_in": "emoji"}


def recipe(
    *,
    resolution: tuple[int, int],
    img_channels: int = 3,
    c_dim: int = 0,
    gpus: int = 1,
    **overrides: Any,
) -> TrainConfig:
    """Networks and reconstruction as Liu et al. 2021 (arXiv 2101.04775), DiffAugment with all of
    its three changes (arXiv 2006.10738), and the hinge loss; R1 stands for the norms of their D.
    """
    height, width = resolution
    optimizer = OptimizerConfig(lr=1e-3, betas=(0.0, 0.99))
    config = TrainConfig(
        name="few-shot",
        architecture="light_gan",
        model=Config(
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            g_channel_base=512,
            d_channel_base=512,
            channel_max=64,
        ),
        objective="hinge",
        data=DataConfig(use_labels=c_dim > 0, options=DATA_OPTIONS),
        augment=AugmentConfig(mode="fixed", p=1.0, groups="diffaug", ada_kimg=ADA_KIMG_ON_CPU),
        g_optimizer=optimizer,
        d_optimizer=optimizer,
        batch=16,
        r1_gamma=0.01,
        d_reg_interval=4,
        ema=EmaConfig(half_life_kimg=2.0),
        total_kimg=100.0,
        tick_kimg=5.0,
        snapshot_every_ticks=2,
    )
    return config.with_changes(**overrides)
