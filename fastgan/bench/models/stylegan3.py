# SPDX-License-Identifier: Apache-2.0
"""StyleGAN3's synthesis: one layer of configuration T, and a small generator."""

import torch
from torch import Tensor, nn

from fastgan.bench.network_cases import module_case
from fastgan.bench.step_case import StepCase
from fastgan.models.stylegan3 import Config, Generator
from fastgan.models.stylegan3.lowpass import lowpass_filter
from fastgan.ops import filtered_lrelu


def cases() -> list[StepCase]:
    small = Config(
        z_dim=64, w_dim=64, img_height=64, img_width=64, channel_base=2048, channel_max=64
    )
    name = "stylegan3 {}".format
    return [
        module_case(name("filtered_lrelu 2x64x84x84"), _Activation, (2, 64, 84, 84), is_quick=True),
        module_case(name("T 64x64 G batch 2"), lambda: _Synthesis(small), (2, 16, 64)),
    ]


class _Activation(nn.Module):
    """Between filters of 12 taps, two-fold. The bias keeps most samples away from the kink, where
    rounding decides which slope is right."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([1.0, -1.0]).repeat(32))
        f = lowpass_filter(12, 16.0, 16.0, 64.0)
        self.register_buffer("f", f)

    def forward(self, x: Tensor) -> Tensor:
        f = self.f.float()
        return filtered_lrelu(x / 16, f, f, self.bias, 2, 2, [11, 10, 11, 10], clamp=256)


class _Synthesis(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.synthesis = Generator(config).eval().synthesis

    def forward(self, ws: Tensor) -> Tensor:
        return self.synthesis(ws)
