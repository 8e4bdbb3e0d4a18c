# SPDX-License-Identifier: Apache-2.0
"""StyleGAN3-T (Karras et al. 2021, arXiv 2106.12423) at a width that a processor can train."""

from typing import Any

from fastgan.models.stylegan3 import Config
from fastgan.training.config.auto_gamma import auto_r1_gamma
from fastgan.training.config.published.stylegan3 import magnitude_ema_beta
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
    """T with ADA's heuristics in batch and resolution (arXiv 2006.06676, appendix C):

    r1_gamma = 0.0002·H·W / batch, every 16 steps; EMA half-life batch·10/32 kimg, ramp-up 0.05. Six
    layers and narrow maps are ours; learning rates, the magnitude's moving average and what moves
    it are as published. No path length and no style mixing, as published.
    """
    height, width = resolution
    batch = overrides.get("batch", 16)
    config = TrainConfig(
        name="stylegan3-small",
        architecture="stylegan3",
        model=Config(
            z_dim=128,
            w_dim=128,
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            channel_base=1024,
            channel_max=64,
            num_layers=6,
            magnitude_ema_beta=magnitude_ema_beta(batch),
            d_channel_base=2048,
            d_channel_max=128,
            d_mapping_layers=2,
        ),
        objective="non_saturating",
        data=DataConfig(use_labels=c_dim > 0),
        augment=AugmentConfig(ada_kimg=ADA_KIMG_ON_CPU),
        g_optimizer=OptimizerConfig(lr=0.0025, betas=(0.0, 0.99)),
        d_optimizer=OptimizerConfig(lr=0.002, betas=(0.0, 0.99)),
        batch=batch,
        r1_gamma=auto_r1_gamma(height, width, batch),
        d_reg_interval=16,
        update_emas="d_step",
        ema=EmaConfig(half_life_kimg=batch * 10 / 32, rampup_ratio=0.05),
        total_kimg=3000.0,
    )
    return config.with_changes(**overrides)
