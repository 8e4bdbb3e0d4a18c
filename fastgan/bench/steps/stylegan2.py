# SPDX-License-Identifier: Apache-2.0
"""The step of the recipe `stylegan2-small` at 64×64, small, with path length; and twice as wide.

Against plain PyTorch of the same algorithm. Against the algorithm as it is usually composed see the
other comparisons of StyleGAN2 in this folder.
"""

from fastgan.bench.recipe_case import recipe_case
from fastgan.bench.step_case import StepCase
from fastgan.training.config.recipes.images.stylegan2_small import recipe


def cases() -> list[StepCase]:
    return [
        _case("small", batch=8, channel_base=2048, channel_max=128, is_quick=True),
        _case("medium", batch=8, channel_base=4096, channel_max=256),
    ]


def _case(name: str, *, batch: int, is_quick: bool = False, **model: int) -> StepCase:
    config = recipe(
        resolution=(64, 64),
        batch=batch,
        pl_weight=2.0,
        g_reg_interval=4,
        style_mixing_prob=0.9,
        model=model,
    )
    return recipe_case(f"stylegan2 {name} 64x64 batch {batch}", config, is_quick=is_quick)
