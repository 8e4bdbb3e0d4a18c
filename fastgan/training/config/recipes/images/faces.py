# SPDX-License-Identifier: Apache-2.0
"""The demo, cartoon faces in minutes on a processor: a small modulated network, RpGAN and R1."""

from typing import Any

from fastgan.models.light_skip_gan import Config
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
    """RpGAN with lazy R1 (Huang et al. 2024, arXiv 2501.05441, without its R2), a small modulated
    network and a high learning rate: chosen by experiment for the first ten CPU-minutes. G doubles
    its maps through a low-pass filter, up to the image's own size: doubling by repetition left a
    pattern of squares in every surface (benchmarks/results/faces)."""
    height, width = resolution
    adam = OptimizerConfig(lr=6e-3, betas=(0.0, 0.99))
    config = TrainConfig(
        name="faces",
        architecture="light_skip_gan",
        model=Config(
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            g_doubling="filtered",
            g_channel_base=1024,
            g_convs=2,
            g_has_full_size=True,
        ),
        objective="relativistic",
        data=DataConfig(use_labels=c_dim > 0, mirror=True),
        augment=AugmentConfig(ada_kimg=ADA_KIMG_ON_CPU),
        g_optimizer=adam,
        d_optimizer=adam,
        batch=16,
        r1_gamma=2.0,
        d_reg_interval=8,
        ema=EmaConfig(half_life_kimg=20.0, rampup_ratio=0.05),
        total_kimg=1500.0,
        tick_kimg=2.0,
        snapshot_every_ticks=2,
    )
    return config.with_changes(**overrides)
