# SPDX-License-Identifier: Apache-2.0
"""R3GAN's published configurations, one for each of its data sets (arXiv 2501.05441)."""

from typing import Any

from fastgan.training.config.published.r3gan import choose_preset, published, sides
from fastgan.training.config.run import TrainConfig

IS_PUBLISHED = True


def recipe(
    *,
    resolution: tuple[int, int],
    img_channels: int = 3,
    c_dim: int = 0,
    gpus: int = 1,
    preset: str | None = None,
    **overrides: Any,
) -> TrainConfig:
    """The configuration `preset` of `fastgan.training.config.published.r3gan`, whose name the run
    has; None chooses it by the resolution and by whether there are classes.

    Raises:
        ValueError: where the resolution is not that of the preset, or none or more than one fit.
    """
    preset = choose_preset(resolution, c_dim) if preset is None else preset
    config = published(preset, gpus=gpus, img_channels=img_channels, c_dim=c_dim, **overrides)
    height, width = resolution
    side = sides()[preset]
    if (height, width) != (side, side):
        raise ValueError(
            f"r3gan: --preset {preset} is for images of {side}×{side}, and these are "
            f"{width}×{height} (width × height); resize them with --resolution {side}, or take "
            "another preset or r3gan-small"
        )
    return config
