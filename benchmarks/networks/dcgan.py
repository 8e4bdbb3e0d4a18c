# SPDX-License-Identifier: Apache-2.0
"""A DCGAN of 64×64 images as tutorials write it, for `fastgan bench step --module`.

Radford, Metz & Chintala 2016, arXiv 1511.06434, section 3.
"""

from torch import nn

latent_shape = (100, 1, 1)
image_shape = (3, 64, 64)
batch = 16


def G() -> nn.Module:
    layers: list[nn.Module] = []
    before, stride, padding = 100, 1, 0
    for channels in (512, 256, 128, 64):
        layers += [
            nn.ConvTranspose2d(before, channels, 4, stride, padding, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(True),
        ]
        before, stride, padding = channels, 2, 1
    return nn.Sequential(*layers, nn.ConvTranspose2d(before, 3, 4, 2, 1, bias=False), nn.Tanh())


def D() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    for channels in (128, 256, 512):
        layers += [
            nn.Conv2d(channels // 2, channels, 4, 2, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.2, True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(512, 1, 4, 1, 0, bias=False))
