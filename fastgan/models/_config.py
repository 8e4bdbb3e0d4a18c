# SPDX-License-Identifier: Apache-2.0
"""The fields that the Config of every architecture has."""

from dataclasses import dataclass

from fastgan.models._checks import check_config
from fastgan.models._pyramid import halving_sizes


@dataclass(frozen=True, kw_only=True)
class ImageConfig:
    """The fields that the Config of every architecture has.

    Args:
        z_dim: width of the noise z that G takes, at least 1.
        c_dim: width of the condition c that G and D take; 0: they take none.
        img_channels: channels of an image, at least 1.
        img_height: rows of an image in pixels.
        img_width: columns of an image in pixels.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    z_dim: int = 512
    c_dim: int = 0
    img_channels: int = 3
    img_height: int = 64
    img_width: int = 64

    def __post_init__(self) -> None:
        check_config(self, z_dim=1, c_dim=0, img_channels=1, img_height=1, img_width=1)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, (img_channels, img_height, img_width)."""
        return self.img_channels, self.img_height, self.img_width


@dataclass(frozen=True, kw_only=True)
class PyramidConfig(ImageConfig):
    """The fields of `ImageConfig`, with the sizes of a network that doubles and halves its maps."""

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) from the base to the image."""
        return halving_sizes(self.img_height, self.img_width)
