# SPDX-License-Identifier: Apache-2.0
"""DCGAN at 64×64 without batch norm in D, which a per-sample penalty does not go with."""

from fastgan.bench.network_cases import gan_case
from fastgan.bench.step_case import StepCase
from fastgan.models.dcgan import Config


def cases() -> list[StepCase]:
    return [
        _case("small", 16, channels=32, channel_max=256, is_quick=True),
        _case("medium", 16, channels=64, channel_max=512),
    ]


def _case(
    size: str, batch: int, *, channels: int, channel_max: int, is_quick: bool = False
) -> StepCase:
    config = Config(
        g_channels=channels, d_channels=channels, channel_max=channel_max, d_norm="none"
    )
    return gan_case(f"dcgan {size} 64x64", "dcgan", config, batch=batch, is_quick=is_quick)
