# SPDX-License-Identifier: Apache-2.0
"""Translation between two kinds of pictures: CycleGAN (arXiv 1703.10593), small."""

from typing import Any

from fastgan.models.cycle_gan import Config
from fastgan.training.config.run import (
    DataConfig,
    EmaConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)

_METRICS = """kid_a kid_b kid_untranslated cycle_l1_a cycle_l1_b change_l1_a change_l1_b accepted_a
accepted_b accepted_real"""


def recipe(*, height: int = 32, width: int = 32, gpus: int = 1, **overrides: Any) -> TrainConfig:
    """Two or three minutes on one core of a CPU; the size comes from the data."""
    optimizer = OptimizerConfig(lr=1e-3, betas=(0.5, 0.999))
    config = TrainConfig(
        name="cycle",
        architecture="cycle_gan",
        model=Config(height=height, width=width),
        data=DataConfig(modality="translation"),
        objective="least_squares",
        objective_options={"cycle": {"weight": 10.0, "identity": 0.5}},
        latents="none",
        g_optimizer=optimizer,
        d_optimizer=optimizer,
        batch=8,
        ema=EmaConfig(half_life_kimg=1.0),
        schedule=ScheduleConfig(anneal_kimg=8.0, lr_end=0.05),
        total_kimg=8.0,
        tick_kimg=2.0,
        snapshot_every_ticks=2,
        metrics=tuple(_METRICS.split()),
        metric_images=190,
    )
    return config.with_changes(**overrides)
