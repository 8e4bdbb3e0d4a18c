# SPDX-License-Identifier: Apache-2.0
"""A small image GAN for processors: style-modulated skip generator, strided discriminator.

G: mapping(z, c) -> ws; a learned constant at the base, then per size one or more modulated 3 × 3
   convolutions with leaky ReLU and one modulated 1 × 1 convolution to the image. The map is doubled
   by repetition before the first of them, or within it by a transposed convolution and a low-pass
   filter; the sum of the images bilinearly. Both are cropped to the next size.
D: a 4 × 4 convolution of stride 2 with leaky ReLU per halving, minibatch standard deviation, a
   3 × 3 convolution, and two linear layers; plus <embed(c), h> / sqrt(C) when conditional.
The first halving of D is a single strided convolution between the image and the maps of the size
below, and so is the last doubling of G unless it has maps of the image's own size: much of the time
of a small GAN goes there. Outside the minibatch statistic D is piecewise linear.
Source: modulation, image skips and equalised weights, Karras et al. 2020 (StyleGAN2); strided
convolutions, Radford et al. 2016; projection, Miyato and Koyama 2018.
"""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from fastgan.models._checks import check_choice, check_config, check_ws
from fastgan.models._config import PyramidConfig
from fastgan.models._network import SampleDiscriminator, StyleGenerator
from fastgan.models._pyramid import channels_at, pad_to_even
from fastgan.nn import EqualConv2d, EqualLinear, MinibatchStddev, ModulatedConv2d
from fastgan.nn.noise import check_noise_mode
from fastgan.ops import bias_act, conv2d, conv_transpose2d

__all__ = ["Config", "Discriminator", "Generator"]

BILINEAR = (0.5, 1.5, 1.5, 0.5)  # bilinear doubling as a transposed convolution, times 2
BLUR = (0.25, 0.5, 0.25)
DOUBLINGS = ("repeated", "filtered")


@dataclass(frozen=True, kw_only=True)
class Config(PyramidConfig):
    """Sizes of the networks.

    Channels at a map whose longer side is at most r = 2^k: base / r, at most channel_max.

    Args:
        w_dim: width of the latents ws.
        g_channel_base: the base of G.
        d_channel_base: the base of D.
        channel_max: the largest width.
        mapping_layers: layers of the mapping network.
        mapping_lr_multiplier: learning rate of the mapping network over that of the rest, above 0.
        mbstd_group: samples that D compares in its minibatch standard deviation.
        g_doubling: how G doubles its maps. "repeated" (default): every pixel becomes 2 × 2 equal
            ones, which are convolved. "filtered": a transposed convolution of stride 2, then the
            low-pass filter [1, 3, 3, 1], as StyleGAN2; a quarter of the multiplications, and no
            pattern of squares.
        g_convs: convolutions of G per size of map, at least 1; default 1. The base and the image's
            own size have one.
        g_has_full_size: whether G has maps of the image's own size. Default False: its last
            doubling makes the image itself.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    z_dim: int = 64
    w_dim: int = 128
    g_channel_base: int = 512
    d_channel_base: int = 512
    channel_max: int = 256
    mapping_layers: int = 2
    mapping_lr_multiplier: float = 0.1
    mbstd_group: int = 4
    g_doubling: str = "repeated"
    g_convs: int = 1
    g_has_full_size: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self, w_dim=1, g_channel_base=1, d_channel_base=1, channel_max=1)
        check_config(self, mapping_layers=1, mbstd_group=1, g_convs=1)
        check_choice(self, g_doubling=DOUBLINGS)
        if not self.mapping_lr_multiplier > 0:
            raise ValueError(
                f"Config: mapping_lr_multiplier must be > 0, got {self.mapping_lr_multiplier!r}"
            )

    def widths(self, base: int) -> list[int]:
        """Channels at every size but the image's (at the base, if that is the image).

        Args:
            base: g_channel_base or d_channel_base.

        Returns:
            The channels, from the base of the network on.
        """
        sizes = self.sizes[:-1] or self.sizes
        return [channels_at(size, base, self.channel_max) for size in sizes]

    @property
    def g_widths(self) -> list[int]:
        """Channels of G's maps at every size that has any, from the base on."""
        if self.g_has_full_size:
            return [channels_at(s, self.g_channel_base, self.channel_max) for s in self.sizes]
        return self.widths(self.g_channel_base)


class Generator(StyleGenerator):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    The output is not bounded; D keeps it near [-1, 1]. ``noise_mode`` is checked and has no effect:
    G draws no noise of its own.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.sizes = config.sizes
        self._filters = config.g_doubling == "filtered"
        widths = config.g_widths
        self._add_mapping(len(widths), w_avg_beta=0.99)
        self.const = nn.Parameter(torch.randn(widths[0], *self.sizes[0]))
        self.convs = nn.ModuleList()  # of one size after the other
        inner = range(1, len(self.sizes) - 1)
        self._counts = [config.g_convs if i in inner else 1 for i in range(len(widths))]
        channels = widths[0]
        for i, (width, count) in enumerate(zip(widths, self._counts, strict=True)):
            for j in range(count):
                doubles = self._filters and i > 0 and j == 0
                conv = ModulatedConv2d(
                    channels, width, 3, config.w_dim, up=1 + doubles, activation="lrelu",
                    resample_filter=(1, 3, 3, 1) if doubles else None,
                )  # fmt: skip
                self.convs.append(conv)
                channels = width
        self.to_images = nn.ModuleList(
            ModulatedConv2d(
                o, config.img_channels, 1, config.w_dim, demodulate=False, resample_filter=None
            )
            for o in widths
        )
        if len(self.sizes) > len(widths):
            self.to_images[-1] = _DoublingToImage(widths[-1], config.img_channels, config.w_dim)

    def synthesis(self, ws: torch.Tensor, *, noise_mode: str = "random") -> torch.Tensor:
        """The image of the latents.

        Args:
            ws: [N, num_ws, w_dim], one latent per size of map.
            noise_mode: checked, without effect.

        Returns:
            [N, img_channels, img_height, img_width], of the dtype of ws.

        Raises:
            ValueError: for ws of another shape, or a noise_mode that does not exist.
        """
        check_noise_mode("Generator", noise_mode)
        check_ws("Generator", ws, self.num_ws, self.w_dim)
        x = self.const.to(ws.dtype).expand(ws.shape[0], -1, -1, -1)  # [N, C, H, W]
        x = x.contiguous(memory_format=torch.channels_last)
        image, convs = None, iter(self.convs)
        for i, (count, to_image) in enumerate(zip(self._counts, self.to_images, strict=True)):
            w = ws[:, i]
            if i > 0:
                image = _double(image, self.sizes[i], "bilinear")
                if not self._filters:
                    x = _double(x, self.sizes[i], "nearest")
            for conv in itertools.islice(convs, count):
                x = conv(x, w, self.sizes[i] if conv.up == 2 else None)
            if isinstance(to_image, _DoublingToImage):
                image = None if image is None else _double(image, self.sizes[-1], "bilinear")
                y = to_image(x, w, self.sizes[-1])
            else:
                y = to_image(x, w)
            image = y if image is None else image + y
        return image


class Discriminator(SampleDiscriminator):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
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
        self._check_inputs(x, c)
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
        x = pad_to_even(x)
        y = conv2d(x, (self.weight * self.weight_gain).to(x.dtype), stride=2, padding=1)
        return bias_act(y, self.bias, act="lrelu")


def _double(x: torch.Tensor, size: tuple[int, int], mode: str) -> torch.Tensor:
    """x [N, C, H, W] doubled, then cropped at the right and bottom to ``size``."""
    align = None if mode == "nearest" else False
    y = F.interpolate(x, scale_factor=2, mode=mode, align_corners=align)
    return y[:, :, : size[0], : size[1]]
