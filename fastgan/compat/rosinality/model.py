# SPDX-License-Identifier: Apache-2.0
"""`model`: rosinality's networks and layers with its constructors, on our ops."""

from collections.abc import Sequence

from fastgan.models import rosinality
from fastgan.models.rosinality.layers import (
    Blur,
    ConstantInput,
    ConvLayer,
    Downsample,
    EqualConv2d,
    EqualLinear,
    ModulatedConv2d,
    NoiseInjection,
    PixelNorm,
    ResBlock,
    StyledConv,
    ToRGB,
    Upsample,
)

__all__ = [
    "Blur",
    "ConstantInput",
    "ConvLayer",
    "Discriminator",
    "Downsample",
    "EqualConv2d",
    "EqualLinear",
    "Generator",
    "ModulatedConv2d",
    "NoiseInjection",
    "PixelNorm",
    "ResBlock",
    "StyledConv",
    "ToRGB",
    "Upsample",
]


class Generator(rosinality.Generator):
    """`fastgan.models.rosinality.Generator` with rosinality's constructor.

    Args:
        size: width and height of the images in pixels.
        style_dim: length of z and w.
        n_mlp: layers of the mapping network.
        channel_multiplier: factor of the channels.
        blur_kernel: taps of the resampling filter.
        lr_mlp: factor of the learning rate of the mapping network.
    """

    def __init__(
        self,
        size: int,
        style_dim: int,
        n_mlp: int,
        channel_multiplier: int = 2,
        blur_kernel: Sequence[float] = (1, 3, 3, 1),
        lr_mlp: float = 0.01,
    ) -> None:
        super().__init__(
            rosinality.Config(
                z_dim=style_dim, img_height=size, img_width=size, n_mlp=n_mlp,
                channel_multiplier=channel_multiplier, blur_kernel=blur_kernel, lr_mlp=lr_mlp,
            )
        )  # fmt: skip


class Discriminator(rosinality.Discriminator):
    """`fastgan.models.rosinality.Discriminator` with rosinality's constructor.

    Args:
        size: width and height of the images in pixels.
        channel_multiplier: factor of the channels.
        blur_kernel: taps of the resampling filter.
    """

    def __init__(
        self,
        size: int,
        channel_multiplier: int = 2,
        blur_kernel: Sequence[float] = (1, 3, 3, 1),
    ) -> None:
        super().__init__(
            rosinality.Config(
                img_height=size, img_width=size, channel_multiplier=channel_multiplier,
                blur_kernel=blur_kernel,
            )
        )  # fmt: skip
