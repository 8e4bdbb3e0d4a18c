# SPDX-License-Identifier: Apache-2.0
"""BigGAN (Brock et al. 2018) at a width for a CPU: SAGAN whose blocks each take a part of z."""

from typing import Any

from fastgan.training.config.recipes.images.sngan import recipe as sngan
from fastgan.training.config.run import TrainConfig


def recipe(
    *,
    resolution: tuple[int, int],
    img_channels: int = 3,
    c_dim: int = 0,
    gpus: int = 1,
    **overrides: Any,
) -> TrainConfig:
    """Each block's batch norms take a part of z and the class embedding that all share; weights are
    orthogonal at first, betas (0, 0.999). Otherwise than in the paper: weights from z and class to
    batch norms start near 0, which the paper's widths amount to; widths, batch and moving
    average of the recipe sngan, learning rates of the recipe sagan (5e-5 and 2e-4 there), one step
    of D for one of G (2), no orthogonal regularisation."""
    config = sngan(resolution=resolution, img_channels=img_channels, c_dim=c_dim, gpus=gpus)
    config = config.with_changes(
        name="biggan-small",
        model={
            "g_norm": "spectral",
            "attention_at": 8,
            "z_split": True,
            "embed_dim": 32,
            "init": "orthogonal",
        },
        g_optimizer={"lr": 5e-4, "betas": (0.0, 0.999)},
        d_optimizer={"lr": 1e-3, "betas": (0.0, 0.999)},
    )
    return config.with_changes(**overrides)
