# SPDX-License-Identifier: Apache-2.0
"""What the published vocoders' recipes have in common: 22 kHz, 80 mels, hop 256, AdamW."""

from typing import Any

from fastgan.training.config.run import (
    DataConfig,
    EmaConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)

OPTIONS = {"sample_rate": 22050, "n_fft": 1024, "fmin": 0, "fmax": 8000}
_PASS_KIMG = 13.1  # LJSpeech, over which the published decay counts
METRICS = ("mel_l1", "griffin_lim_l1", "mel_l1_ratio", "rms_ratio")


def published(
    name: str, architecture: str, model: Any, *, lr: float, lr_decay: float, decay_kimg: float,
    batch: int, steps: int,
) -> TrainConfig:  # fmt: skip
    """Least squares, 45 · mel (over all frequencies) and 2 · feature matching; no average of G."""
    optimizer = OptimizerConfig(name="adamw", lr=lr, betas=(0.8, 0.99), weight_decay=0.01)
    mel = {"weight": 45.0, "num_mels": model.num_mels, "hop": model.hop}
    return TrainConfig(
        name=name,
        architecture=architecture,
        model=model,
        data=DataConfig(modality="speech", options=OPTIONS),
        objective="least_squares",
        objective_options={
            "mel": mel | OPTIONS | {"fmax": None},
            "feature_matching": {"weight": 2.0, "norm": "l1"},
        },
        latents="none",
        g_optimizer=optimizer,
        d_optimizer=optimizer,
        schedule=ScheduleConfig(lr_decay=lr_decay, lr_decay_kimg=decay_kimg),
        batch=batch,
        r1_gamma=0.0,
        ema=EmaConfig(half_life_kimg=0.0),
        total_kimg=steps * batch / 1000,
        tick_kimg=10.0,
        snapshot_every_ticks=50,
        metrics=METRICS,
        metric_images=256,
    )


def hifigan(name: str, model: Any) -> TrainConfig:
    """HiFi-GAN's: learning rate 2e-4, times 0.999 after each pass over LJSpeech; 2.5 M steps."""
    return published(
        name, "vocoders.hifigan", model, lr=2e-4, lr_decay=0.999, decay_kimg=_PASS_KIMG, batch=16,
        steps=2_500_000,
    )  # fmt: skip
