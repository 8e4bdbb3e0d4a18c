# SPDX-License-Identifier: Apache-2.0
"""Pictures of four times the size: RpGAN and R1 (arXiv 2501.05441) with the term pixel."""

from typing import Any

from fastgan.models.super_resolution import Config
from fastgan.training.config.run import DataConfig, EmaConfig, OptimizerConfig, TrainConfig


def recipe(*, height: int = 32, width: int = 32, gpus: int = 1, **overrides: Any) -> TrainConfig:
    """A minute on one core of a CPU; the size comes from the data."""
    optimizer = OptimizerConfig(lr=1e-3, betas=(0.0, 0.99))
    config = TrainConfig(
        name="super-resolution",
        architecture="super_resolution",
        model=Config(height=height, width=width),
        data=DataConfig(modality="upscaling"),
        objective="relativistic",
        objective_options={"pixel": 10.0},
        latents="none",
        g_optimizer=optimizer,
        d_optimizer=optimizer,
        batch=32,
        r1_gamma=1.0,
        ema=EmaConfig(half_life_kimg=2.0),
        total_kimg=40.0,
        tick_kimg=4.0,
        snapshot_every_ticks=5,
        metrics=("psnr", "psnr_bicubic", "kid", "kid_bicubic"),
        metric_images=600,
    )
    return config.with_changes(**overrides)
