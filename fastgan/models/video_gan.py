# SPDX-License-Identifier: Apache-2.0
"""A GAN of short clips: what a clip shows, a path of its frames, and how fast they follow it.

G: z -> content [C, 4, 4], the same in all frames;
   z -> T / 4 + 1 points [C, 4, 4] of a path, interpolated in time: a place for each frame;
   z -> speed, one positive number for each clip, exp(linear).
   h_t = (content + speed · path_t) / √(1 + speed²) -> blocks that double height and width and
   convolve each frame in two dimensions -> convolution, tanh. Where the speed is near 0 all frames
   are alike, so clips that stand still and clips that move much are equally easy to make.
D: of clips: all frames and the differences of neighbouring ones, as channels -> convolutions that
   halve height and width -> Linear -> 1 logit;
   of frames: the same of every second frame by itself -> the mean of the logits.
   It returns both, and the objective is the sum of theirs.

Sources: content and motion apart, a judge of each: Tulyakov et al. 2018, MoCoGAN, arXiv 1707.04993;
two judges: Clark et al. 2019, DVD-GAN, arXiv 1907.06571; a judge of the motion that takes frames as
channels: Yu et al. 2022, DIGAN, arXiv 2202.10571. The speed is this project's.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.models._checks import check_config, check_latents, check_samples
from fastgan.models._network import Network
from fastgan.nn._torch_conv import Conv2d

__all__ = ["Config", "Discriminator", "Generator"]

_FIRST_SPEED = -2.0  # mean logarithm of the speed of clips at the start of training
_SPEED_LR = 3.0  # the linear layer of the speed learns so many times faster


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the GAN of clips.

    Args:
        size: height and width in pixels, a power of two, at least 8.
        frames: T, a multiple of 4.
        z_dim: width of the noise z that G takes, at least 1.
        g_channels: of G at the full size, at least 1; twice as many at each half of it.
        d_channels: of D likewise.
        channel_max: most channels of a layer, at least 1.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    size: int = 32
    frames: int = 8
    z_dim: int = 64
    g_channels: int = 16
    d_channels: int = 16
    channel_max: int = 96

    def __post_init__(self) -> None:
        check_config(self, size=8, frames=4, z_dim=1, g_channels=1, d_channels=1, channel_max=1)
        if self.size & (self.size - 1):
            raise ValueError(f"Config: size must be a power of two, got {self.size}")
        if self.frames % 4:
            raise ValueError(f"Config: frames must be a multiple of 4, got {self.frames}")

    @property
    def data_shape(self) -> tuple[int, int, int, int]:
        """Shape of one clip, (3, frames, size, size)."""
        return 3, self.frames, self.size, self.size

    @property
    def sides(self) -> list[int]:
        """Heights of the feature maps, from 4 to size."""
        return [2**k for k in range(2, self.size.bit_length())]

    def channels(self, base: int, side: int) -> int:
        """Channels of a feature map.

        Args:
            base: channels at the full size.
            side: height of the map.

        Returns:
            base · size / side, at most channel_max.
        """
        return min(base * self.size // side, self.channel_max)


class Generator(Network):
    """z [N, z_dim] -> clips [N, 3, T, H, W] in [-1, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.z_dim, self.c_dim = config.z_dim, 0
        widths = [config.channels(config.g_channels, side) for side in config.sides]
        self.content = nn.Linear(config.z_dim, widths[0] * 16)
        self.motion = nn.Linear(config.z_dim, widths[0] * (config.frames // 4 + 1) * 16)
        self.speed = nn.Linear(config.z_dim, 1)
        self.blocks = nn.ModuleList(Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.last = Conv2d(widths[-1], 3, 3, padding=1)
        for layer in (self.content, self.motion, self.speed):
            nn.init.normal_(layer.weight, std=config.z_dim**-0.5)
            nn.init.zeros_(layer.bias)
        for conv in self.blocks:
            nn.init.kaiming_normal_(conv.weight, a=0.2)
            nn.init.zeros_(conv.bias)
        with torch.no_grad():
            self.speed.weight /= _SPEED_LR
            self.speed.bias.fill_(_FIRST_SPEED / _SPEED_LR)

    def forward(self, z: Tensor) -> Tensor:
        check_latents("Generator", z, self.z_dim)
        frames = self.config.frames
        content = self.content(z).unflatten(1, (-1, 1, 16))
        path = self.motion(z).unflatten(1, (len(content[0]), -1, 16))
        path = F.interpolate(path, (frames, 16), mode="bilinear", align_corners=True)
        speed = (_SPEED_LR * self.speed(z)).clamp(max=4).exp()[:, :, None, None]
        x = (content + speed * path) * (1 + speed.square()).rsqrt()  # of one variance
        x = x.transpose(1, 2).flatten(0, 1).unflatten(2, (4, 4))
        for conv in self.blocks:
            x = conv(F.interpolate(F.leaky_relu(x, 0.2), scale_factor=2, mode="nearest"))
        x = self.last(F.leaky_relu(x, 0.2)).tanh()  # [N · T, 3, H, W]
        return x.unflatten(0, (-1, frames)).transpose(1, 2).contiguous()


class Discriminator(Network):
    """x [N, 3, T, H, W] -> a list of the logits [N, 1] of clips and [N, 1] of frames."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.c_dim = 0
        sides = config.sides[-2::-1]  # from size / 2 to 4
        widths = [config.channels(config.d_channels, side) for side in sides]
        stacked = 3 * (2 * config.frames - 1)
        self.clips = nn.ModuleList(
            Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise([stacked, *widths])
        )
        self.frames = nn.ModuleList(
            Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise([3, *widths])
        )
        self.of_clip = nn.Linear(widths[-1] * 16, 1)
        self.of_frame = nn.Linear(widths[-1] * 16, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        check_samples("Discriminator", x, self.config.data_shape)
        clip = torch.cat([x, x.diff(dim=2)], 2).flatten(1, 2)  # [N, 3 · (2 T - 1), H, W]
        frames = x[:, :, ::2].transpose(1, 2).flatten(0, 1)  # [N · T / 2, 3, H, W]
        for conv in self.clips:
            clip = F.leaky_relu(conv(clip), 0.2)
        for conv in self.frames:
            frames = F.leaky_relu(conv(frames), 0.2)
        each = self.of_frame(frames.flatten(1)).unflatten(0, (len(x), -1))
        return [self.of_clip(clip.flatten(1)), each.mean(1)]
