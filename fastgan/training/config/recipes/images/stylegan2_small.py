# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2 (Karras et al. 2020, arXiv 1912.04958) at a width that a processor can train."""

from typing import Any

from fastgan.models.stylegan2 import Config
from fastgan.training.config.auto_gamma import auto_r1_gamma
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
    """The heuristics of StyleGAN2-ADA (arXiv 2006.06676, appendix C) in batch and resolution:

    r1_gamma = 0.0002·H·W / batch, every 16 steps; EMA half-life batch·10/32 kimg, ramp-up 0.05.

    Path length is off, as ADA has it for small data: it slows, and helps inversion more than
    looks. Style mixing is rarer than StyleGAN's 0.9, which is meant for 18 layers.
    """
    height, width = resolution
    batch = overrides.get("batch", 32)
    adam = OptimizerConfig(lr=0.0025, betas=(0.0, 0.99))
    config = TrainConfig(
        name="stylegan2-small",
        architecture="stylegan2",
        model=Config(
            z_dim=128,
            w_dim=128,
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            channel_base=2048,
            channel_max=128,
            mapping_layers=2,
            d_mapping_layers=2,
        ),
        objective="non_saturating",
        data=DataConfig(use_labels=c_dim > 0),
        augment=AugmentConfig(ada_kimg=ADA_KIMG_ON_CPU),
        g_optimizer=adam,
        d_optimizer=adam,
        batch=batch,
        r1_gamma=auto_r1_gamma(height, width, batch),
        d_reg_interval=16,
        style_mixing_prob=0.5,
        ema=EmaConfig(half_life_kimg=batch * 10 / 32, rampup_ratio=0.05),
        total_kimg=3000.0,
    )
    return config.with_changes(**overrides)
