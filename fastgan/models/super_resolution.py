# SPDX-License-Identifier: Apache-2.0
"""Super-resolution: G adds to a bicubic enlargement what a residual network draws.

G works at the low resolution and enlarges by pixel shuffling, without batch norm; its last layer is
zero at first, so that training begins with the bicubic picture. D sees the picture alone.

Sources: Ledig et al. 2017, SRGAN, arXiv 1609.04802; Wang et al. 2018, ESRGAN, arXiv 1809.00219.
"""

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.models._checks import check_config, check_samples
from fastgan.models._network import Network
from fastgan.nn._torch_conv import Conv2d

__all__ = ["SCALE", "Config", "Discriminator", "Generator", "enlarge"]

SCALE = 4


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the networks.

    Args:
        height: of the high-resolution pictures, in pixels, a multiple of 8.
        width: likewise.
        channels: of G's convolutions, at least 1.
        blocks: residual blocks of G, at least 0.
        d_channels: of D's first convolution, at least 1.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    height: int = 32
    width: int = 32
    channels: int = 32
    blocks: int = 4
    d_channels: int = 24

    def __post_init__(self) -> None:
        check_config(self, height=8, width=8, channels=1, blocks=0, d_channels=1)
        for field in ("height", "width"):
            if getattr(self, field) % 8:
                raise ValueError(
                    f"Config: {field} must be a multiple of 8, got {getattr(self, field)}; resize "
                    "or crop the pictures"
                )

    @property
    def data_shape(self) -> tuple[int, int, int]:
        """Shape of one high-resolution picture, (3, height, width)."""
        return 3, self.height, self.width

    def empty_batch(self, n: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """A batch without values.

        Args:
            n: number of pictures.
            device: of the tensors.

        Returns:
            (x [n, 3, height, width], c [n, 3, height / 4, width / 4]).
        """
        c = torch.empty(n, 3, self.height // SCALE, self.width // SCALE, device=device)
        return torch.empty(n, *self.data_shape, device=device), c


def enlarge(c: Tensor) -> Tensor:
    """The bicubic enlargement.

    Args:
        c: [N, 3, h, w].

    Returns:
        [N, 3, 4h, 4w].
    """
    return F.interpolate(c, scale_factor=SCALE, mode="bicubic", align_corners=False)


class _Block(nn.Module):
    """h + two convolutions of h; h itself at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Conv2d(channels, channels, 3, padding=1)
        self.second = Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(F.leaky_relu(self.first(h), 0.2))


class Generator(Network):
    """c [N, 3, h, w] in [-1, 1] -> [N, 3, 4h, 4w], of any h and w."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        channels = config.channels
        self.first = Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(_Block(channels) for _ in range(config.blocks)))
        self.twice = nn.ModuleList(Conv2d(channels, 4 * channels, 3, padding=1) for _ in "12")
        self.last = Conv2d(channels, 3, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, c: Tensor) -> Tensor:
        check_samples("Generator", c, (3, *c.shape[2:]))
        h = self.blocks(self.first(c))
        for conv in self.twice:
            h = F.leaky_relu(F.pixel_shuffle(conv(h), 2), 0.2)
        return enlarge(c) + self.last(h)


class Discriminator(Network):
    """x [N, 3, H, W] -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        widths = [3] + [config.d_channels * k for k in (1, 2, 4)]
        self.convs = nn.ModuleList(
            Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(widths)
        )
        places = config.height * config.width // 64
        self.last = nn.Linear(widths[-1] * places, 1)

    def forward(self, x: Tensor) -> Tensor:
        check_samples("Discriminator", x, self.config.data_shape)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)
        return self.last(x.flatten(1))
