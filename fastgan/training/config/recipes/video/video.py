# SPDX-License-Identifier: Apache-2.0
"""Clips of a content, a path and a speed, with RpGAN, R1 and R2 (arXiv 2501.05441)."""

from typing import Any

from fastgan.models.video_gan import Config
from fastgan.training.config.run import DataConfig, EmaConfig, OptimizerConfig, TrainConfig


def recipe(*, size: int = 32, frames: int = 8, gpus: int = 1, **overrides: Any) -> TrainConfig:
    """Minutes on one core of a CPU. Learning rates of 1e-3 for both with γ 1 let D win at once."""
    config = TrainConfig(
        name="video",
        architecture="video_gan",
        model=Config(size=size, frames=frames),
        data=DataConfig(modality="video"),
        objective="relativistic",
        g_optimizer=OptimizerConfig(lr=1e-3, betas=(0.0, 0.99)),
        d_optimizer=OptimizerConfig(lr=7e-4, betas=(0.0, 0.99)),
        batch=8,
        r1_gamma=2.0,
        r2_gamma=2.0,
        ema=EmaConfig(half_life_kimg=0.5),
        total_kimg=24.0,
        tick_kimg=0.5,
        snapshot_every_ticks=8,
        metrics=(
            "motion_w1",
            "motion_w1_static",
            "motion_w1_shuffled",
            "motion_w1_constant",
            "frame_kid",
        ),
        metric_images=500,
    )
    return config.with_changes(**overrides)
