"""StyleGAN2 for any image size.

G = synthesis(mapping(z, c)); blocks b{size} double the map from a learned constant to the image.
D halves the image to the base and ends in minibatch standard deviation and two linear layers.
Square powers of two give the geometry and the state_dict keys of StyleGAN2-ADA one to one; other
sizes ceil-halve from the image to a base of 4..7, each block cropping its doubled map to the next
size, and a non-square block is named b{height}x{width}.
Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN"; conditioning
and smaller configurations from Karras et al. 2020, "Training Generative Adversarial Networks with
Limited Data" (ADA), appendix D; projection, Miyato and Koyama 2018.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from fastgan.models._checks import (
    check_choice,
    check_condition,
    check_config,
    check_latents,
    check_samples,
)
from fastgan.models._pretrained import Pretrained
from fastgan.models._pyramid import halving_sizes, size_name
from fastgan.models._stylegan2_synthesis import HALF_POWER, SynthesisNetwork
from fastgan.nn import EqualConv2d, EqualLinear, MappingNetwork, MinibatchStddev
from fastgan.nn.resample import downsample_to_ceil
from fastgan.ops import setup_filter

__all__ = ["Config", "Discriminator", "Generator"]

ARCHITECTURES = ("orig", "skip", "resnet")
HALF_DTYPES = (None, "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes and choices of StyleGAN2.

    Channels at a map whose longer side is at most r = 2^k: min(channel_base / r, channel_max).
    channel_base 32768 is StyleGAN2's full width, 16384 ADA's choice up to 256². mapping_layers 8,
    or 2 for ADA's small data; D's conditional mapping has d_mapping_layers.
    g_architecture, d_architecture: "orig" feed-forward, "skip" image skips, "resnet" residual.
    mbstd_group: samples that D compares; None for the whole batch.
    conv_clamp: bound on every activation (256 for half precision), None for none.
    fused_modconv: modulate by grouped convolution instead of scaling activations.
    half_dtype: "bfloat16" or "float16": the dtype of the maps of the ``half_sizes`` largest sizes,
    but the base, in G and D; styles, demodulation, image sums and D's last block keep the dtype of
    the latents or the image. None: that dtype everywhere. Wants a conv_clamp.
    """

    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 0
    img_channels: int = 3
    img_height: int = 64
    img_width: int = 64
    channel_base: int = 32768
    channel_max: int = 512
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    d_mapping_layers: int = 8
    w_avg_beta: float = 0.998
    g_architecture: str = "skip"
    d_architecture: str = "resnet"
    mbstd_group: int | None = 4
    mbstd_channels: int = 1
    conv_clamp: float | None = None
    resample_filter: tuple[float, ...] = (1, 3, 3, 1)
    fused_modconv: bool = False
    half_dtype: str | None = None
    half_sizes: int = 4

    def __post_init__(self) -> None:
        check_config(self, z_dim=1, w_dim=1, c_dim=0, img_channels=1, img_height=1, img_width=1)
        check_config(self, channel_base=1, channel_max=1, mapping_layers=1, d_mapping_layers=1)
        check_config(self, mbstd_channels=0, half_sizes=1)
        if self.mbstd_group is not None:
            check_config(self, mbstd_group=1)
        check_choice(self, half_dtype=HALF_DTYPES)
        check_choice(self, g_architecture=ARCHITECTURES, d_architecture=ARCHITECTURES)
        if self.conv_clamp is not None and not self.conv_clamp > 0:
            raise ValueError(f"Config: conv_clamp must be None or > 0, got {self.conv_clamp!r}")
        object.__setattr__(self, "resample_filter", tuple(self.resample_filter))  # JSON gives lists
        base = self.channels(self.sizes[0])
        if self.mbstd_channels and base % self.mbstd_channels:
            raise ValueError(
                f"Config: mbstd_channels must divide the {base} channels at the base, got "
                f"{self.mbstd_channels}; 1 always does"
            )

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) from the base to the image."""
        return halving_sizes(self.img_height, self.img_width)

    def map_dtype(self, size: tuple[int, int]) -> torch.dtype | None:
        """``half_dtype`` as a dtype where maps of ``size`` have it, else None."""
        if self.half_dtype is None or size not in self.sizes[1:][-self.half_sizes :]:
            return None
        return getattr(torch, self.half_dtype)

    def channels(self, size: tuple[int, int]) -> int:
        """Channels of a map of ``size``."""
        r = 1 << (max(size) - 1).bit_length()
        return max(min(self.channel_base // r, self.channel_max), 1)


class Generator(Pretrained, nn.Module):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    ``mapping(z, c, truncation_psi=, truncation_cutoff=, update_w_avg=)`` -> ws and
    ``synthesis(ws, noise_mode=)`` -> images are its halves. noise_mode: "random", "const", "none".
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.z_dim = config.z_dim
        self.c_dim = config.c_dim
        self.w_dim = config.w_dim
        self.synthesis = SynthesisNetwork(config)
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(
            config.z_dim,
            config.c_dim,
            config.w_dim,
            self.num_ws,
            num_layers=config.mapping_layers,
            lr_multiplier=config.mapping_lr_multiplier,
            w_avg_beta=config.w_avg_beta,
        )

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        update_w_avg: bool = True,
    ) -> torch.Tensor:
        check_latents("Generator", z, self.z_dim)
        check_condition("Generator", c, z.shape[0], self.c_dim)
        ws = self.mapping(
            z,
            c,
            truncation_psi=truncation_psi,
            truncation_cutoff=truncation_cutoff,
            update_w_avg=update_w_avg,
        )
        return self.synthesis(ws, noise_mode=noise_mode)


class DiscriminatorBlock(nn.Module):
    """One size of D: image input (first block, or every one in "skip"), two convolutions."""

    def __init__(self, config: Config, size: tuple[int, int], o: int, is_first: bool) -> None:
        super().__init__()
        mid = config.channels(size)
        self.architecture = config.d_architecture
        self.dtype = config.map_dtype(size)
        is_residual = self.architecture == "resnet"
        scale = HALF_POWER if is_residual else 1.0
        clamp = config.conv_clamp
        f = config.resample_filter
        self.register_buffer("resample_filter", setup_filter(f))
        if is_first or self.architecture == "skip":
            self.fromrgb = from_rgb(config, mid)
        self.conv0 = EqualConv2d(mid, mid, 3, activation="lrelu", resample_filter=f, clamp=clamp)
        self.conv1 = EqualConv2d(
            mid,
            o,
            3,
            down=2,
            activation="lrelu",
            resample_filter=f,
            gain=math.sqrt(2) * scale,
            clamp=None if clamp is None else clamp * scale,
        )
        if is_residual:
            self.skip = EqualConv2d(
                mid, o, 1, down=2, bias=False, resample_filter=f, gain=HALF_POWER
            )

    def forward(
        self, x: torch.Tensor | None, img: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if x is not None and self.dtype is not None:
            x = x.to(self.dtype)
        if hasattr(self, "fromrgb"):
            y = self.fromrgb(img if self.dtype is None else img.to(self.dtype))
            x = y if x is None else x + y
            img = (
                downsample_to_ceil(img, self.resample_filter, 2)
                if self.architecture == "skip"
                else None
            )
        if self.architecture == "resnet":
            return self.skip(x) + self.conv1(self.conv0(x)), img
        return self.conv1(self.conv0(x)), img


def from_rgb(config: Config, channels: int) -> EqualConv2d:
    """The 1 × 1 convolution from an image to ``channels`` maps."""
    return EqualConv2d(
        config.img_channels,
        channels,
        1,
        activation="lrelu",
        resample_filter=config.resample_filter,
        clamp=config.conv_clamp,
    )


class DiscriminatorEpilogue(nn.Module):
    """The base of D: x [N, C, *base] -> logits [N, 1], projected on cmap [N, C] if conditional."""

    def __init__(self, config: Config, size: tuple[int, int], is_first: bool) -> None:
        super().__init__()
        channels = config.channels(size)
        if is_first or config.d_architecture == "skip":
            self.fromrgb = from_rgb(config, channels)
        self.mbstd = (
            MinibatchStddev(config.mbstd_group, config.mbstd_channels)
            if config.mbstd_channels
            else None
        )
        self.conv = EqualConv2d(
            channels + config.mbstd_channels,
            channels,
            3,
            activation="lrelu",
            resample_filter=config.resample_filter,
            clamp=config.conv_clamp,
        )
        self.fc = EqualLinear(channels * math.prod(size), channels, activation="lrelu")
        self.out = EqualLinear(channels, channels if config.c_dim > 0 else 1)

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


class Discriminator(Pretrained, nn.Module):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.c_dim = config.c_dim
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
                config.channels(sizes[0]),
                None,
                num_layers=config.d_mapping_layers,
                lr_multiplier=config.mapping_lr_multiplier,
                w_avg_beta=None,
            )

    def forward(self, x: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        config = self.config
        shape = (config.img_channels, config.img_height, config.img_width)
        check_samples("Discriminator", x, shape)
        check_condition("Discriminator", c, x.shape[0], self.c_dim)
        h, img = None, x.contiguous(memory_format=torch.channels_last)
        for name in self.names[:-1]:
            h, img = self.get_submodule(name)(h, img)
        cmap = self.mapping(None, c.to(x.dtype)) if self.c_dim > 0 else None  # [N, C]
        if h is not None:
            h = h.to(x.dtype)
        return self.get_submodule(self.names[-1])(h, img, cmap)
