# SPDX-License-Identifier: Apache-2.0
"""The step of the recipe `dcgan` at 64×64, with the recipe's batch and lazy penalties."""

from fastgan.bench.recipe_case import recipe_case
from fastgan.bench.step_case import StepCase
from fastgan.training.config.recipes.images.dcgan import recipe


def cases() -> list[StepCase]:
    return [recipe_case("dcgan 64x64 batch 16", recipe(resolution=(64, 64), batch=16))]
