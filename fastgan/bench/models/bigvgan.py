# SPDX-License-Identifier: Apache-2.0
"""BigVGAN's generator on a training segment of 8192 samples, and one of its activations alone."""

import torch
from torch import nn

from fastgan.bench.network_cases import module_case
from fastgan.bench.step_case import StepCase
from fastgan.models.vocoders.bigvgan import Config, Generator
from fastgan.nn import AntiAliasedActivation, SnakeBeta

_NO_COMPILE = "a whole generator took torch.compile more than 4 minutes; see its activation"


def cases() -> list[StepCase]:
    small = Config(upsample_initial_channel=64)
    mel = (2, 100, 32)
    no_compile = {"compile": _NO_COMPILE}
    name = "bigvgan {}".format
    return [
        module_case(name("activation 4x64x4096"), _activation, (4, 64, 4096), is_quick=True),
        module_case(
            name("small G batch 2"), lambda: _generator(small), mel, no_compile, is_quick=True
        ),
        module_case(name("base G batch 2"), lambda: _generator(Config()), mel, no_compile),
    ]


def _activation() -> nn.Module:
    return _moved(AntiAliasedActivation(SnakeBeta(64, alpha_logscale=True)))


def _generator(config: Config) -> nn.Module:
    return _moved(Generator(config))


@torch.no_grad()
def _moved(network: nn.Module) -> nn.Module:
    for key, p in network.named_parameters():
        if key.endswith(("alpha", "beta")):  # they start at 0, all alike
            p.add_(0.3 * torch.randn(p.shape))
    return network
