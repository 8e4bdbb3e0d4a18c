# SPDX-License-Identifier: Apache-2.0
"""The demo's pair at 64×64, as the recipe `faces` has it; and the default one, twice as wide."""

from fastgan.bench.network_cases import gan_case
from fastgan.bench.step_case import StepCase
from fastgan.models.light_skip_gan import Config
from fastgan.training.config.recipes.images.faces import recipe


def cases() -> list[StepCase]:
    small = recipe(resolution=(64, 64)).model
    return [
        gan_case("light_skip_gan small 64x64", "light_skip_gan", small, batch=16, is_quick=True),
        gan_case(
            "light_skip_gan medium 64x64",
            "light_skip_gan",
            Config(g_channel_base=1024, d_channel_base=1024, channel_max=512),
            batch=16,
        ),
    ]
