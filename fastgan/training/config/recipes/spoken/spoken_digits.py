# SPDX-License-Identifier: Apache-2.0
"""Spoken digits without a spectrogram: hinge loss, projection and spectral norm."""

from typing import Any

from fastgan.models.waveform_gan import Config
from fastgan.training.config.run import DataConfig, EmaConfig, OptimizerConfig, TrainConfig


def recipe(*, c_dim: int = 10, gpus: int = 1, **overrides: Any) -> TrainConfig:
    """Minutes on one core of a CPU."""
    config = TrainConfig(
        name="spoken-digits",
        architecture="waveform_gan",
        model=Config(c_dim=c_dim),
        data=DataConfig(modality="spoken", use_labels=True),
        objective="hinge",
        g_optimizer=OptimizerConfig(lr=1e-3, betas=(0.0, 0.9)),
        d_optimizer=OptimizerConfig(lr=4e-4, betas=(0.0, 0.9)),
        batch=32,
        r1_gamma=0.0,
        ema=EmaConfig(half_life_kimg=2.0),
        total_kimg=24.0,
        tick_kimg=1.0,
        snapshot_every_ticks=4,
        metrics=("recognised", "frechet", "frechet_real", "recognised_real"),
        metric_images=500,
    )
    return config.with_changes(**overrides)
