# SPDX-License-Identifier: Apache-2.0
"""Rosinality's discriminator."""

import math

import torch
from torch import nn

from fastgan.models._network import SampleDiscriminator
from fastgan.models.rosinality.config import Config
from fastgan.models.rosinality.layers import ConvLayer, EqualLinear, ResBlock
from fastgan.ops import minibatch_stddev

_STDDEV_GROUP = 4


class Discriminator(SampleDiscriminator):
    """x [N, img_channels, size, size] -> logits [N, 1]; c is None: there is no condition."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        kernel, width = config.blur_kernel, config.channels(config.size)
        layers = [ConvLayer(config.img_channels, width, 1)]
        for i in range(int(math.log2(config.size)), 2, -1):
            o = config.channels(2 ** (i - 1))
            layers.append(ResBlock(width, o, kernel))
            width = o
        self.convs = nn.Sequential(*layers)
        self.final_conv = ConvLayer(width + 1, width, 3)
        self.final_linear = nn.Sequential(
            EqualLinear(width * 16, width, activation="fused_lrelu"), EqualLinear(width, 1)
        )

    def forward(self, x: torch.Tensor, c: None = None) -> torch.Tensor:
        self._check_inputs(x, c)
        x = self.convs(x.contiguous(memory_format=torch.channels_last))
        std = minibatch_stddev(x, _STDDEV_GROUP)  # [N, 1]
        x = torch.cat([x, std[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
        return self.final_linear(self.final_conv(x).flatten(1))
