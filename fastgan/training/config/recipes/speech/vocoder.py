# SPDX-License-Identifier: Apache-2.0
"""A small HiFi-GAN at 8 kHz for a processor: the published losses, a narrower G and D."""

from typing import Any

from fastgan.models.vocoders.hifigan import Config
from fastgan.training.config.run import (
    DataConfig,
    EmaConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)

DATA_OPTIONS = {"sample_rate": 8000, "n_fft": 256}
_MODEL = Config(
    num_mels=40,
    upsample_rates=(8, 4, 2),
    upsample_kernel_sizes=(16, 8, 4),
    upsample_initial_channel=128,
    resblock="2",
    resblock_kernel_sizes=(3, 5),
    resblock_dilation_sizes=((1, 3), (2, 6)),
    periods=(2, 3, 5),
    mpd_channels=4,
    scales=0,
    segment_size=4096,
)


def recipe(*, gpus: int = 1, **overrides: Any) -> TrainConfig:
    """Minutes on one core of a CPU."""
    optimizer = OptimizerConfig(name="adamw", lr=1e-3, betas=(0.8, 0.99), weight_decay=0.01)
    mel = {"weight": 45.0, "hop": _MODEL.hop, "num_mels": _MODEL.num_mels}
    config = TrainConfig(
        name="vocoder",
        architecture="vocoders.hifigan",
        model=_MODEL,
        data=DataConfig(modality="speech", options=DATA_OPTIONS),
        objective="least_squares",
        objective_options={
            "mel": mel | DATA_OPTIONS,
            "feature_matching": {"weight": 2.0, "norm": "l1"},
        },
        latents="none",
        g_optimizer=optimizer,
        d_optimizer=optimizer,
        schedule=ScheduleConfig(lr_decay=0.97, lr_decay_kimg=0.5),
        batch=8,
        r1_gamma=0.0,
        ema=EmaConfig(half_life_kimg=0.5),
        total_kimg=30.0,
        tick_kimg=1.0,
        snapshot_every_ticks=5,
        metrics=("mel_l1", "griffin_lim_l1", "mel_l1_ratio", "rms_ratio"),
        metric_images=29,
    )
    return config.with_changes(**overrides)
