# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2's discriminator."""

import math

import torch
from torch import nn

from fastgan.models._network import SampleDiscriminator
from fastgan.models._pyramid import size_name
from fastgan.models.stylegan2.config import (
    HALF_POWER,
    UNUSED_FILTER,
    Config,
    default_gain,
    dtype_of_maps,
)
from fastgan.nn import EqualConv2d, EqualLinear, MappingNetwork, MinibatchStddev
from fastgan.nn.resample import downsample_to_ceil
from fastgan.ops import setup_filter


class DiscriminatorBlock(nn.Module):
    """One size of D: image input (first block, or every one in "skip"), two convolutions."""

    def __init__(self, config: Config, size: tuple[int, int], o: int, is_first: bool) -> None:
        super().__init__()
        mid = config.channels(size)
        self.size, self.is_first = size, is_first
        self.architecture = config.d_architecture
        self.dtype, self.half_on_cpu = config.map_dtype(size), config.half_on_cpu
        is_residual = self.architecture == "resnet"
        scale = HALF_POWER if is_residual else 1.0
        clamp = config.conv_clamp
        f = config.resample_filter
        self.register_buffer("resample_filter", setup_filter(f))
        if is_first or self.architecture == "skip":
            self.fromrgb = from_rgb(config, mid, config.activation, clamp)
        self.conv0 = EqualConv2d(
            mid, mid, 3, activation=config.activation, resample_filter=UNUSED_FILTER, clamp=clamp
        )
        self.conv1 = EqualConv2d(
            mid,
            o,
            3,
            down=2,
            activation=config.activation,
            resample_filter=f,
            gain=default_gain(config.activation) * scale,
            clamp=None if clamp is None else clamp * scale,
        )
        if is_residual:
            self.skip = EqualConv2d(
                mid, o, 1, down=2, bias=False, resample_filter=f, gain=HALF_POWER
            )

    def forward(
        self, x: torch.Tensor | None, img: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if x is not None:
            x = x.to(dtype_of_maps(self.dtype, self.half_on_cpu, x))
        if hasattr(self, "fromrgb"):
            y = self.fromrgb(img.to(dtype_of_maps(self.dtype, self.half_on_cpu, img)))
            x = y if x is None else x + y
            img = (
                downsample_to_ceil(img, self.resample_filter, 2)
                if self.architecture == "skip"
                else None
            )
        if self.architecture == "resnet":
            return self.skip(x) + self.conv1.after(self.conv0, x), img
        return self.conv1.after(self.conv0, x), img


def from_rgb(config: Config, channels: int, activation: str, clamp: float | None) -> EqualConv2d:
    """The 1 × 1 convolution from an image to ``channels`` maps."""
    return EqualConv2d(
        config.img_channels,
        channels,
        1,
        activation=activation,
        resample_filter=UNUSED_FILTER,
        clamp=clamp,
    )


class DiscriminatorEpilogue(nn.Module):
    """The base of D: x [N, C, *base] -> logits [N, 1], projected on cmap [N, C] if conditional."""

    def __init__(self, config: Config, size: tuple[int, int], is_first: bool) -> None:
        super().__init__()
        channels = config.channels(size)
        activation = config.d_epilogue_activation or config.activation
        if is_first or config.d_architecture == "skip":
            # Published, the last image of "skip" is not clamped here; no other comes here.
            clamp = None if config.d_architecture == "skip" else config.conv_clamp
            self.fromrgb = from_rgb(config, channels, activation, clamp)
        self.mbstd = (
            MinibatchStddev(config.mbstd_group, config.mbstd_channels)
            if config.mbstd_channels
            else None
        )
        self.conv = EqualConv2d(
            channels + config.mbstd_channels,
            channels,
            3,
            activation=activation,
            resample_filter=UNUSED_FILTER,
            clamp=config.conv_clamp,
        )
        self.fc = EqualLinear(channels * math.prod(size), channels, activation=activation)
        self.out = EqualLinear(channels, cmap_dim(config) if config.c_dim > 0 else 1)

    def forward(
        self, x: torch.Tensor | None, img: torch.Tensor | None, cmap: torch.Tensor | None
    ) -> torch.Tensor:
        if hasattr(self, "fromrgb"):
            y = self.fromrgb(img)
            x = y if x is None else x + y
        if self.mbstd is not None:
            x = self.mbstd(x)
        y = self.out(self.fc(self.conv(x).flatten(1)))
        if cmap is not None:
            y = (y * cmap).sum(1, keepdim=True) / math.sqrt(cmap.shape[1])
        return y


def cmap_dim(config: Config) -> int:
    """Width of the condition that D's last features are projected on."""
    return config.cmap_dim or config.channels(config.sizes[0])


class Discriminator(SampleDiscriminator):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        config = config.discriminator
        sizes = config.sizes
        self.names = [size_name(size) for size in reversed(sizes)]
        for i in range(len(sizes) - 1, 0, -1):
            o = config.channels(sizes[i - 1])
            block = DiscriminatorBlock(config, sizes[i], o, is_first=i == len(sizes) - 1)
            self.add_module(size_name(sizes[i]), block)
        epilogue = DiscriminatorEpilogue(config, sizes[0], is_first=len(sizes) == 1)
        self.add_module(size_name(sizes[0]), epilogue)
        if config.c_dim > 0:
            self.mapping = MappingNetwork(
                0,
                config.c_dim,
                cmap_dim(config),
                None,
                num_layers=config.d_mapping_layers,
                lr_multiplier=config.mapping_lr_multiplier,
                w_avg_beta=None,
                embed_features=config.embed_features,
                layer_features=config.layer_features,
                activation=config.mapping_activation,
            )

    def forward(self, x: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        self._check_inputs(x, c)
        h, img = None, x.contiguous(memory_format=torch.channels_last)
        for name in self.names[:-1]:
            block = self.get_submodule(name)
            if h is not None and block.dtype is None and self.config.half_dtype is not None:
                h = h.to(x.dtype)  # below the sizes in 16 bits
            h, img = block(h, img)
        cmap = self.mapping(None, c.to(x.dtype)) if self.c_dim > 0 else None  # [N, C]
        if h is not None:
            h = h.to(x.dtype)
        return self.get_submodule(self.names[-1])(h, img, cmap)
