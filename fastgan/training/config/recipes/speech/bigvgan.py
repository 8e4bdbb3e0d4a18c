# SPDX-License-Identifier: Apache-2.0
"""BigVGAN (base) as published: 22 kHz, 80 mels, one million steps of 32 segments, for a GPU."""

from dataclasses import replace
from typing import Any

from fastgan.models.vocoders.bigvgan import BASE
from fastgan.training.config.recipes.speech._published import OPTIONS, published
from fastgan.training.config.run import TrainConfig

DATA_OPTIONS = OPTIONS
IS_PUBLISHED = True


def recipe(*, gpus: int = 1, **overrides: Any) -> TrainConfig:
    """Lee et al. 2023, arXiv 2206.04658; the learning rate is times 0.9999996 after each step."""
    return published(
        "bigvgan", "vocoders.bigvgan", replace(BASE, num_mels=80), lr=1e-4, lr_decay=0.9999996,
        decay_kimg=0.032, batch=32, steps=1_000_000,
    ).with_changes(**overrides)  # fmt: skip
