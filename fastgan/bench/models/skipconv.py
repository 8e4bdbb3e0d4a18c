"""The demo's pair at 64×64, as the recipe `faces` has it, and twice as wide."""

from fastgan.bench.network_case import network_case
from fastgan.bench.step_case import StepCase
from fastgan.models.skipconv import Config


def cases() -> list[StepCase]:
    return [
        network_case("skipconv small 64x64", "skipconv", Config(), batch=16, is_quick=True),
        network_case(
            "skipconv medium 64x64",
            "skipconv",
            Config(g_channel_base=1024, d_channel_base=1024, channel_max=512),
            batch=16,
        ),
    ]
