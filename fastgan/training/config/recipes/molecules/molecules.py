# SPDX-License-Identifier: Apache-2.0
"""Molecule graphs by the straight-through Gumbel softmax, with RpGAN, R1 and R2."""

from typing import Any

from fastgan.models.molecule_graphs import Config
from fastgan.nn.molecules import ELEMENTS
from fastgan.training.config.run import DataConfig, EmaConfig, OptimizerConfig, TrainConfig


def recipe(
    *,
    elements: tuple[str, ...] = ELEMENTS,
    most_atoms: int = 16,
    gpus: int = 1,
    **overrides: Any,
) -> TrainConfig:
    """Minutes on one core of a CPU. R1 and R2 of arXiv 2501.05441; the valence term is a reward for
    valences that hold."""
    optimizer = OptimizerConfig(lr=1e-3, betas=(0.0, 0.99))
    config = TrainConfig(
        name="molecules",
        architecture="molecule_graphs",
        model=Config(elements=elements, most_atoms=most_atoms),
        data=DataConfig(modality="molecules"),
        objective="relativistic",
        objective_options={"valence": {"weight": 1.0, "elements": list(elements)}},
        g_optimizer=optimizer,
        d_optimizer=optimizer,
        batch=64,
        r1_gamma=0.1,
        r2_gamma=0.1,
        ema=EmaConfig(half_life_kimg=5.0),
        total_kimg=30.0,
        tick_kimg=5.0,
        snapshot_every_ticks=2,
        metrics=("valid", "unique", "novel", "ringed", "ringed_real", "rings_w1", "ring_sizes"),
        metric_images=1000,
    )
    return config.with_changes(**overrides)
