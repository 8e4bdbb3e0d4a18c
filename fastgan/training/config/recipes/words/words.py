# SPDX-License-Identifier: Apache-2.0
"""Words by the straight-through Gumbel softmax, with RpGAN, R1 and R2 (arXiv 2501.05441)."""

from typing import Any

from fastgan.models.character_gan import Config
from fastgan.training.config.run import DataConfig, EmaConfig, OptimizerConfig, TrainConfig


def recipe(
    *,
    alphabet: str = "abcdefghijklmnopqrstuvwxyz",
    length: int = 8,
    gpus: int = 1,
    **overrides: Any,
) -> TrainConfig:
    """Two minutes on one core of a CPU; other alphabets and lengths come from the data."""
    optimizer = OptimizerConfig(lr=1e-3, betas=(0.0, 0.99))
    config = TrainConfig(
        name="words",
        architecture="character_gan",
        model=Config(alphabet=alphabet, length=length),
        data=DataConfig(modality="words"),
        objective="relativistic",
        g_optimizer=optimizer,
        d_optimizer=optimizer,
        batch=128,
        r1_gamma=1.0,
        r2_gamma=1.0,
        ema=EmaConfig(half_life_kimg=10.0),
        total_kimg=200.0,
        tick_kimg=10.0,
        snapshot_every_ticks=5,
        metrics=("bigram_js", "bigram_ratio", "unique", "dictionary", "copies"),
        metric_images=3000,
    )
    return config.with_changes(**overrides)
