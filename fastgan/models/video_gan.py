"""A GAN of short clips: convolutions over time, height and width; D also judges frames alone.

G: z -> Linear -> [C, T / 4, 4, 4] -> blocks that double height and width (the first two of them the
   time as well) and convolve -> convolution, tanh.
D: of clips: convolutions that halve height, width and, twice, the time -> Linear -> 1 logit;
   of frames: the same of every second frame by itself, in two dimensions -> the mean of the logits.
   It returns both, and the objective is the sum of theirs.

Source of two judges, one of the motion and one of frames: Tulyakov et al. 2018, MoCoGAN, arXiv
1707.04993; Clark et al. 2019, DVD-GAN, arXiv 1907.06571.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.models._checks import check_config, check_latents, check_samples
from fastgan.models._network import Network
from fastgan.nn._torch_conv import Conv2d

__all__ = ["Config", "Discriminator", "Generator"]


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
    g_channels: int = 12
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
        self.first = nn.Linear(config.z_dim, widths[0] * (config.frames // 4) * 16)
        self.blocks = nn.ModuleList(nn.Conv3d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.last = nn.Conv3d(widths[-1], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        check_latents("Generator", z, self.z_dim)
        x = self.first(z).unflatten(1, (-1, self.config.frames // 4, 4, 4))
        for i, conv in enumerate(self.blocks):
            x = F.leaky_relu(x, 0.2)
            time = 2 if self._doubles_time(i) else 1
            x = conv(F.interpolate(x, scale_factor=(time, 2, 2), mode="nearest"))
        if len(self.blocks) == 1:  # 8 pixels have one block, which doubles the time once
            x = F.interpolate(x, scale_factor=(2, 1, 1), mode="nearest")
        return self.last(F.leaky_relu(x, 0.2)).tanh()

    @staticmethod
    def _doubles_time(block: int) -> bool:
        return block < 2


class Discriminator(Network):
    """x [N, 3, T, H, W] -> a list of the logits [N, 1] of clips and [N, 1] of frames."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.c_dim = 0
        sides = config.sides[-2::-1]  # from size / 2 to 4
        widths = [3, *(config.channels(config.d_channels, side) for side in sides)]
        self.clips, self.frames = nn.ModuleList(), nn.ModuleList()
        length = config.frames
        for i, (a, b) in enumerate(pairwise(widths)):
            time = 2 if i in (1, 2) else 1
            kernel = (2 + time, 4, 4)
            self.clips.append(nn.Conv3d(a, b, kernel, stride=(time, 2, 2), padding=1))
            self.frames.append(Conv2d(a, b, 4, stride=2, padding=1))
            length //= time
        self.of_clip = nn.Linear(widths[-1] * length * 16, 1)
        self.of_frame = nn.Linear(widths[-1] * 16, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        check_samples("Discriminator", x, self.config.data_shape)
        clip, frames = x, x[:, :, ::2].transpose(1, 2).flatten(0, 1)  # [N · T / 2, 3, H, W]
        for conv in self.clips:
            clip = F.leaky_relu(conv(clip), 0.2)
        for conv in self.frames:
            frames = F.leaky_relu(conv(frames), 0.2)
        each = self.of_frame(frames.flatten(1)).unflatten(0, (len(x), -1))
        return [self.of_clip(clip.flatten(1)), each.mean(1)]
