# SPDX-License-Identifier: Apache-2.0
"""Networks of plain torch.nn, as people write them, before and after `fastgan.nn.accelerate`.

`native` is the accelerated network, `reference` the same one as it was. What is swapped is decided
once, on this machine. All are in channels_last.
"""

import functools

import torch
from torch import nn
from torch.nn.utils import parametrizations

from fastgan.bench.network_cases import module_case
from fastgan.bench.step_case import StepCase
from fastgan.nn.acceleration import LayerRow, accelerate
from fastgan.nn.acceleration.model_swap import swap_rows


class _Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def _translator() -> nn.Module:
    """The inner part of CycleGAN's generator (Zhu et al. 2017): reflection, instance norm."""

    def block(c: int) -> nn.Module:
        half = [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c)]
        again = [nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3), nn.InstanceNorm2d(c)]
        return _Residual(*half, nn.ReLU(inplace=True), *again)

    return nn.Sequential(*(block(256) for _ in range(3)))


def _super_resolution() -> nn.Module:
    """SRGAN's generator (Ledig et al. 2017) with 4 of its 16 blocks, for a factor of 2."""

    def block(c: int) -> nn.Module:
        first = [nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c), nn.PReLU()]
        return _Residual(*first, nn.Conv2d(c, c, 3, padding=1), nn.BatchNorm2d(c))

    return nn.Sequential(
        nn.Conv2d(3, 64, 9, padding=4),
        nn.PReLU(),
        *(block(64) for _ in range(4)),
        nn.Conv2d(64, 256, 3, padding=1),
        nn.PixelShuffle(2),
        nn.PReLU(),
        nn.Conv2d(64, 3, 9, padding=4),
    )


def _spectral_critic() -> nn.Module:
    """SNGAN's critic for 32×32 (Miyato et al. 2018, table 3): 3×3 and 4×4 kernels."""
    sizes = [(3, 64, 3), (64, 64, 4), (64, 128, 3), (128, 128, 4), (128, 256, 3), (256, 256, 4)]
    layers: list[nn.Module] = []
    for i, o, k in [*sizes, (256, 512, 3)]:
        conv = nn.Conv2d(i, o, k, stride=1 if k == 3 else 2, padding=1)
        layers += [parametrizations.spectral_norm(conv), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * 16, 1)).eval()


_NETWORKS = {
    "CycleGAN 3 blocks of 256 at 32x32, batch 4": (_translator, (4, 256, 32, 32)),
    "SRGAN 4 blocks at 48x48, batch 4": (_super_resolution, (4, 3, 48, 48)),
    "SNGAN critic with spectral norm 32x32, batch 16": (_spectral_critic, (16, 3, 32, 32)),
}


def _plain(name: str) -> nn.Module:
    return _NETWORKS[name][0]().to(memory_format=torch.channels_last)


@functools.cache
def _rows(name: str) -> tuple[LayerRow, ...]:
    x = torch.randn(_NETWORKS[name][1]).contiguous(memory_format=torch.channels_last)
    return tuple(accelerate(_plain(name), x).rows)


def _accelerated(name: str) -> nn.Module:
    network = _plain(name)
    with torch.random.fork_rng([]):
        swap_rows(network, _rows(name))
    return network


def cases() -> list[StepCase]:
    return [
        module_case(name, functools.partial(_accelerated, name), shape)
        for name, (_, shape) in _NETWORKS.items()
    ]
