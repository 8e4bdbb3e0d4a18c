# SPDX-License-Identifier: Apache-2.0
"""HiFi-GAN V1 as published: 22 kHz, 80 mels, 2.5 million steps of 16 segments, for a GPU."""

from typing import Any

from fastgan.models.vocoders.hifigan import V1
from fastgan.training.config.recipes.speech._published import OPTIONS, hifigan
from fastgan.training.config.run import TrainConfig

DATA_OPTIONS = OPTIONS
IS_PUBLISHED = True


def recipe(*, gpus: int = 1, **overrides: Any) -> TrainConfig:
    """Kong et al. 2020, arXiv 2010.05646."""
    return hifigan("hifigan-v1", V1).with_changes(**overrides)
