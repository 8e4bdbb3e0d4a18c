# SPDX-License-Identifier: Apache-2.0
"""A GAN of two MLPs with two hidden layers each, for `fastgan bench step --module`."""

from torch import nn

latent_shape = 64
image_shape = 784
batch = 64
moving_average = True


def G() -> nn.Module:
    return _layers(64, 784, nn.Tanh())


def D() -> nn.Module:
    return _layers(784, 1)


def _layers(inputs: int, outputs: int, *last: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, outputs),
        *last,
    )
