# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2 at 64×64, at two widths that a processor can train."""

from fastgan.bench.network_cases import gan_case
from fastgan.bench.step_case import StepCase
from fastgan.models.stylegan2 import Config


def cases() -> list[StepCase]:
    small = Config(z_dim=128, w_dim=128, channel_base=2048, channel_max=128, mapping_layers=2)
    medium = Config(z_dim=256, w_dim=256, channel_base=4096, channel_max=256, mapping_layers=8)
    return [
        gan_case("stylegan2 small 64x64", "stylegan2", small, batch=8, is_quick=True),
        gan_case("stylegan2 medium 64x64", "stylegan2", medium, batch=8),
    ]
