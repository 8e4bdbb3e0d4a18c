"""A small image GAN for processors: style-modulated skip generator, strided discriminator.

G: mapping(z, c) -> ws; a learned constant at the base, then per size one modulated 3 × 3
   convolution with leaky ReLU and one modulated 1 × 1 convolution to the image. The map is doubled
   by repetition, the sum of the images bilinearly; both are cropped to the next size.
D: a 4 × 4 convolution of stride 2 with leaky ReLU per halving, minibatch standard deviation, a
   3 × 3 convolution, and two linear layers; plus <embed(c), h> / sqrt(C) when conditional.
The last doubling of G and the first halving of D are a single strided convolution between the
image and the maps of the size below, so that no feature map of the image's own size exists: most
of the time of a small GAN would go there. Outside the minibatch statistic D is piecewise linear.
Source: modulation, image skips and equalised weights, Karras et al. 2020 (StyleGAN2); strided
convolutions, Radford et al. 2016; projection, Miyato and Koyama 2018.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from fastgan.models._checks import (
    check_condition,
    check_config,
    check_latents,
    check_samples,
)
from fastgan.models._pretrained import Pretrained
from fastgan.models._pyramid import halving_sizes
from fastgan.nn import EqualConv2d, EqualLinear, MappingNetwork, MinibatchStddev, ModulatedConv2d
from fastgan.nn.noise import check_noise_mode
from fastgan.ops import bias_act, conv2d, conv_transpose2d

__all__ = ["Config", "Discriminator", "Generator"]

BILINEAR = (0.5, 1.5, 1.5, 0.5)  # bilinear doubling as a transposed convolution, times 2
BLUR = (0.25, 0.5, 0.25)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the networks.

    Channels at a map whose longer side is at most r = 2^k: base / r, at most channel_max, with
    g_channel_base for G and d_channel_base for D. mapping_lr_multiplier slows the mapping network.
    """

    z_dim: int = 64
    w_dim: int = 128
    c_dim: int = 0
    img_channels: int = 3
    img_height: int = 64
    img_width: int = 64
    g_channel_base: int = 512
    d_channel_base: int = 512
    channel_max: int = 256
    mapping_layers: int = 2
    mapping_lr_multiplier: float = 0.1
    mbstd_group: int = 4

    def __post_init__(self) -> None:
        check_config(self, z_dim=1, w_dim=1, c_dim=0, img_channels=1, img_height=1, img_width=1)
        check_config(self, g_channel_base=1, d_channel_base=1, channel_max=1)
        check_config(self, mapping_layers=1, mbstd_group=1)
        if not self.mapping_lr_multiplier > 0:
            raise ValueError(
                f"Config: mapping_lr_multiplier must be > 0, got {self.mapping_lr_multiplier!r}"
            )

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) from the base to the image."""
        return halving_sizes(self.img_height, self.img_width)

    def widths(self, base: int) -> list[int]:
        """Channels at every size but the image's (at the base, if that is the image)."""
        sides = [1 << (max(size) - 1).bit_length() for size in self.sizes]
        return [max(min(base // r, self.channel_max), 1) for r in sides[: max(len(sides) - 1, 1)]]


class Generator(Pretrained, nn.Module):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    ``mapping(z, c, truncation_psi=, truncation_cutoff=)`` -> ws [N, num_ws, w_dim] and
    ``synthesis(ws)`` -> images are its halves. The output is not bounded; D keeps it near [-1, 1].
    ``noise_mode`` is checked and has no effect: G draws no noise of its own.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.z_dim = config.z_dim
        self.c_dim = config.c_dim
        self.w_dim = config.w_dim
        self.sizes = config.sizes
        widths = config.widths(config.g_channel_base)
        self.num_ws = len(widths)
        self.mapping = MappingNetwork(
            config.z_dim,
            config.c_dim,
            config.w_dim,
            self.num_ws,
            num_layers=config.mapping_layers,
            lr_multiplier=config.mapping_lr_multiplier,
            w_avg_beta=0.99,
        )
        self.const = nn.Parameter(torch.randn(widths[0], *self.sizes[0]))
        ins = [widths[0], *widths[:-1]]
        self.convs = nn.ModuleList(
            ModulatedConv2d(i, o, 3, config.w_dim, activation="lrelu", resample_filter=None)
            for i, o in zip(ins, widths, strict=True)
        )
        self.to_images = nn.ModuleList(
            ModulatedConv2d(
                o, config.img_channels, 1, config.w_dim, demodulate=False, resample_filter=None
            )
            for o in widths
        )
        if len(self.sizes) > 1:
            self.to_images[-1] = _DoublingToImage(widths[-1], config.img_channels, config.w_dim)

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
    ) -> torch.Tensor:
        check_latents("Generator", z, self.z_dim)
        check_condition("Generator", c, z.shape[0], self.c_dim)
        ws = self.mapping(z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff)
        return self.synthesis(ws, noise_mode=noise_mode)

    def synthesis(self, ws: torch.Tensor, *, noise_mode: str = "random") -> torch.Tensor:
        """ws [N, num_ws, w_dim], one latent per size of map -> images."""
        check_noise_mode("Generator", noise_mode)
        if ws.ndim != 3 or ws.shape[1:] != (self.num_ws, self.w_dim):
            raise ValueError(
                f"Generator: ws must have shape [N, {self.num_ws}, {self.w_dim}], got "
                f"{tuple(ws.shape)}; take it from G.mapping(z, c)"
            )
        x = self.const.to(ws.dtype).expand(ws.shape[0], -1, -1, -1)  # [N, C, H, W]
        x = x.contiguous(memory_format=torch.channels_last)
        image = None
        for i, (conv, to_image) in enumerate(zip(self.convs, self.to_images, strict=True)):
            w = ws[:, i]
            if i > 0:
                x = _double(x, self.sizes[i], "nearest")
                image = _double(image, self.sizes[i], "bilinear")
            x = conv(x, w)
            if isinstance(to_image, _DoublingToImage):
                image = None if image is None else _double(image, self.sizes[-1], "bilinear")
                y = to_image(x, w, self.sizes[-1])
            else:
                y = to_image(x, w)
            image = y if image is None else image + y
        return image


class Discriminator(Pretrained, nn.Module):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.c_dim = config.c_dim
        widths = config.widths(config.d_channel_base)
        channels = widths[0]
        self.halvings = nn.ModuleList()
        if len(config.sizes) > 1:
            ins = [config.img_channels, *widths[:0:-1]]
            for i, o in zip(ins, widths[::-1], strict=True):
                self.halvings.append(_HalvingConv(i, o))
        else:
            self.from_image = EqualConv2d(
                config.img_channels, channels, 1, activation="lrelu", resample_filter=None
            )
        self.mbstd = MinibatchStddev(config.mbstd_group)
        self.conv = EqualConv2d(channels + 1, channels, 3, activation="lrelu", resample_filter=None)
        self.fc = EqualLinear(channels * math.prod(config.sizes[0]), channels, activation="lrelu")
        self.out = EqualLinear(channels, 1)
        if config.c_dim > 0:
            self.embed = EqualLinear(config.c_dim, channels, bias=False)

    def forward(self, x: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        config = self.config
        shape = (config.img_channels, config.img_height, config.img_width)
        check_samples("Discriminator", x, shape)
        check_condition("Discriminator", c, x.shape[0], self.c_dim)
        h = x if self.halvings else self.from_image(x)
        for halving in self.halvings:
            h = halving(h)
        h = self.fc(self.conv(self.mbstd(h)).flatten(1))  # [N, C]
        y = self.out(h)
        if self.c_dim > 0:
            embedded = self.embed(c.to(h.dtype)) / math.sqrt(h.shape[1])
            y = y + (h * embedded).sum(1, keepdim=True)
        return y


class _DoublingToImage(nn.Module):
    """Modulated transposed convolution of stride 2 from maps to an image of twice the size.

    The 6 × 6 kernel is a learned 4 × 4 one convolved with [1, 2, 1]² / 16, and starts as a random
    multiple of a smooth bump per channel: patterns of period two, which a strided D lets through
    early in training, cannot start by themselves (StyleGAN2 blurs its maps for the same reason;
    blurring the kernel is the same linear map, at no cost per pixel).
    """

    def __init__(self, channels: int, img_channels: int, w_dim: int) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, channels, bias_init=1.0)
        bilinear = torch.tensor(BILINEAR)
        scale = torch.randn(channels, img_channels, 1, 1) / 2
        self.weight = nn.Parameter(scale * torch.outer(bilinear, bilinear))
        self.weight_gain = 1 / math.sqrt(channels)
        self.bias = nn.Parameter(torch.zeros(img_channels))
        blur = torch.tensor(BLUR)
        self.register_buffer("blur", torch.outer(blur, blur)[None, None], persistent=False)

    def forward(self, x: torch.Tensor, w: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        x = x * self.affine(w)[:, :, None, None]
        weight = self.weight * self.weight_gain
        blurred = conv2d(weight.flatten(0, 1)[:, None], self.blur, padding=2)  # [I·O, 1, 6, 6]
        weight = blurred.reshape(*weight.shape[:2], 6, 6).to(x.dtype)
        y = conv_transpose2d(x, weight, self.bias.to(x.dtype), stride=2, padding=2)
        return y[:, :, : size[0], : size[1]]


class _HalvingConv(nn.Module):
    """lrelu(4 × 4 convolution of stride 2), x [N, I, H, W] -> [N, O, ceil(H / 2), ceil(W / 2)].

    Odd sides are zero-padded at the right and bottom. Equalised learning rate as ``EqualConv2d``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 4, 4))
        self.weight_gain = 1 / math.sqrt(in_channels * 16)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] % 2 or x.shape[3] % 2:
            x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        y = conv2d(x, (self.weight * self.weight_gain).to(x.dtype), stride=2, padding=1)
        return bias_act(y, self.bias, act="lrelu")


def _double(x: torch.Tensor, size: tuple[int, int], mode: str) -> torch.Tensor:
    """x [N, C, H, W] doubled, then cropped at the right and bottom to ``size``."""
    align = None if mode == "nearest" else False
    y = F.interpolate(x, scale_factor=2, mode=mode, align_corners=align)
    return y[:, :, : size[0], : size[1]]
