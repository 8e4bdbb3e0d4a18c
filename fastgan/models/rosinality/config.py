# SPDX-License-Identifier: Apache-2.0
"""Sizes of rosinality's StyleGAN2."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastgan.models._checks import check_config
from fastgan.models._config import ImageConfig


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    """Sizes of rosinality's StyleGAN2: a square image whose side is a power of two from 8.

    Channels: 512 up to 32², then 256, 128, 64, 32, 16 times channel_multiplier from 64² to 1024².

    Args:
        z_dim: width of z and of w.
        c_dim: 0; there is no condition.
        n_mlp: layers of the mapping network.
        channel_multiplier: of the widths above 32².
        channel_max: the largest width.
        blur_kernel: taps of the low-pass filter of G's up-sampling and D's down-sampling
            convolutions; G's sum of images is up-sampled with (1, 3, 3, 1), as in the original.
        lr_mlp: learning rate of the mapping network over that of the rest.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    img_height: int = 256
    img_width: int = 256
    n_mlp: int = 8
    channel_multiplier: int = 2
    channel_max: int = 512
    blur_kernel: Sequence[float] = (1, 3, 3, 1)
    lr_mlp: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self, img_height=8, img_width=8, n_mlp=1, channel_multiplier=1, channel_max=1)
        object.__setattr__(self, "blur_kernel", tuple(self.blur_kernel))  # JSON gives lists
        size = self.img_width
        if self.c_dim != 0:
            raise ValueError(
                f"Config: c_dim must be 0, got {self.c_dim}: rosinality's model is unconditional; "
                "stylegan2 takes labels"
            )
        if self.img_height != size or size & (size - 1):
            raise ValueError(
                "Config: img_height and img_width must be one power of two, got "
                f"{self.img_height}×{size}; stylegan2 takes any size"
            )

    @property
    def size(self) -> int:
        """Side of the image in pixels."""
        return self.img_width

    def channels(self, size: int) -> int:
        """Channels of a map of size × size.

        Args:
            size: side of the map, a power of two.

        Returns:
            Their number.
        """
        full = 512 if size <= 32 else 16384 // size * self.channel_multiplier
        return min(full, self.channel_max)
