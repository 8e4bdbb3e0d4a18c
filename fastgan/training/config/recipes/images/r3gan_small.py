# SPDX-License-Identifier: Apache-2.0
"""R3GAN (Huang et al. 2024, arXiv 2501.05441) at a width that a processor can train."""

from typing import Any

from fastgan.models.r3gan import Config
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
    """The relativistic loss with R1 and R2 at every step, the residual networks, and Adam with
    β1 = 0 in both: the paper's. Widths, the learning rate, β2 and the constant γ are ours, for
    minutes on a processor; r1_gamma and r2_gamma are one number there, and `--gamma` sets both.

    Left out are the paper's schedules and its augmentation (`--aug fixed --p P --augpipe r3gan`),
    which the recipe r3gan has.

    Raises:
        ValueError where the resolution is not a square of a power of two from 4 on.
    """
    height, width = resolution
    side = max(width, 4)
    if height != width or side != width or side & (side - 1):
        raise ValueError(
            "r3gan-small: resolution must be a square whose side is a power of two and at least "
            f"4, got {height}×{width} (height × width); resize the images with --resolution, or "
            "take stylegan2-small or faces"
        )
    stages = side.bit_length() - 2
    widths = tuple(max(16, min(64, 1024 // (4 * 2**k))) for k in range(stages))
    adam = OptimizerConfig(lr=2e-3, betas=(0.0, 0.99))
    config = TrainConfig(
        name="r3gan-small",
        architecture="r3gan",
        model=Config(
            c_dim=c_dim,
            img_channels=img_channels,
            img_height=height,
            img_width=width,
            widths=widths,
            blocks=(1,) * stages,
            groups=tuple(w // 8 for w in widths),
        ),
        objective="relativistic",
        data=DataConfig(use_labels=c_dim > 0, mirror=True),
        augment=AugmentConfig(ada_kimg=ADA_KIMG_ON_CPU),
        g_optimizer=adam,
        d_optimizer=adam,
        batch=16,
        r1_gamma=5.0,
        r2_gamma=5.0,
        ema=EmaConfig(half_life_kimg=10.0, rampup_ratio=0.05),
        total_kimg=1500.0,
        tick_kimg=2.0,
        snapshot_every_ticks=2,
    )
    return config.with_changes(**overrides)
