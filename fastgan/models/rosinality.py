"""StyleGAN2 with the layers, names and call of rosinality's stylegan2-pytorch.

For code bases and checkpoints of that family; the state_dict keys are theirs one to one. Networks
are square and unconditional, G has image skips, D is residual. `fastgan.models.stylegan2` is the
same network with more options and NVIDIA's names, `fastgan.compat.weights` converts between them.
`fastgan.compat.rosinality.model` has the original constructors.
Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from fastgan import sample_rng
from fastgan.models._checks import check_config, check_samples
from fastgan.models._pretrained import Pretrained
from fastgan.models._rosinality_layers import (
    ConstantInput,
    ConvLayer,
    EqualLinear,
    PixelNorm,
    ResBlock,
    StyledConv,
    ToRGB,
)
from fastgan.nn.noise import check_noise_mode
from fastgan.ops import minibatch_stddev

__all__ = ["Config", "Discriminator", "Generator"]

_STDDEV_GROUP = 4


@dataclass(frozen=True, kw_only=True)
class Config:
    """size: side of the image, a power of two from 8. z_dim is the width of z and of w.

    Channels: 512 up to 32², then 256, 128, 64, 32, 16 times channel_multiplier from 64² to 1024².
    """

    z_dim: int = 512
    c_dim: int = 0
    img_channels: int = 3
    img_height: int = 256
    img_width: int = 256
    n_mlp: int = 8
    channel_multiplier: int = 2
    channel_max: int = 512
    blur_kernel: Sequence[float] = (1, 3, 3, 1)
    lr_mlp: float = 0.01

    def __post_init__(self) -> None:
        check_config(self, z_dim=1, img_channels=1, img_height=8, img_width=8, n_mlp=1)
        check_config(self, channel_multiplier=1, channel_max=1)
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
        return self.img_width

    def channels(self, size: int) -> int:
        """Of a map of size × size."""
        full = 512 if size <= 32 else 16384 // size * self.channel_multiplier
        return min(full, self.channel_max)


class Generator(Pretrained, nn.Module):
    """styles: a list of one or two z [N, z_dim] (or ws) -> (images, latents or None).

    ``Generator(config)``; called by our engine with z alone, it gives the images alone.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.z_dim = self.style_dim = config.z_dim
        self.c_dim = 0
        self.size = config.size
        self.log_size = int(math.log2(config.size))
        self.num_layers = (self.log_size - 2) * 2 + 1
        self.n_latent = self.log_size * 2 - 2
        d, kernel = config.z_dim, config.blur_kernel
        layers = [EqualLinear(d, d, lr_mul=config.lr_mlp, activation="fused_lrelu")
                  for _ in range(config.n_mlp)]  # fmt: skip
        self.style = nn.Sequential(PixelNorm(), *layers)
        width = config.channels(4)
        self.input = ConstantInput(width)
        self.conv1 = StyledConv(width, width, 3, d, blur_kernel=kernel)
        self.to_rgb1 = ToRGB(width, d, upsample=False, channels=config.img_channels)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        self.noises = nn.Module()
        for k in range(self.num_layers):
            side = 2 ** ((k + 5) // 2)
            self.noises.register_buffer(f"noise_{k}", torch.randn(1, 1, side, side))
        for i in range(3, self.log_size + 1):
            o = config.channels(2**i)
            self.convs.append(StyledConv(width, o, 3, d, upsample=True, blur_kernel=kernel))
            self.convs.append(StyledConv(o, o, 3, d, blur_kernel=kernel))
            self.to_rgbs.append(ToRGB(o, d, blur_kernel=kernel, channels=config.img_channels))
            width = o

    def make_noise(self) -> list[torch.Tensor]:
        """One drawn map per layer."""
        names = [f"noise_{k}" for k in range(self.num_layers)]
        return [torch.randn_like(self.noises.get_buffer(name)) for name in names]

    def mean_latent(self, n_latent: int) -> torch.Tensor:
        """[1, z_dim]: the mean of w over n_latent draws of z."""
        like = self.input.input
        z = torch.randn(n_latent, self.style_dim, dtype=like.dtype, device=like.device)
        return self.style(z).mean(0, keepdim=True)

    def get_latent(self, z: torch.Tensor) -> torch.Tensor:
        return self.style(z)

    def forward(
        self,
        styles: torch.Tensor | list[torch.Tensor],
        return_latents: bool = False,
        inject_index: int | None = None,
        truncation: float = 1,
        truncation_latent: torch.Tensor | None = None,
        input_is_latent: bool = False,
        noise: list[torch.Tensor | None] | None = None,
        randomize_noise: bool = True,
        *,
        noise_mode: str | None = None,
        truncation_psi: float = 1,
        update_w_avg: bool = True,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor | None]:
        is_single = isinstance(styles, torch.Tensor)
        styles = [styles] if is_single else list(styles)
        for z in styles:
            if z.shape[-1] != self.style_dim or not z.is_floating_point():
                raise ValueError(
                    f"Generator: styles must be floating with {self.style_dim} features, got "
                    f"{z.dtype} of shape {tuple(z.shape)}"
                )
        if noise_mode is not None:
            check_noise_mode("Generator", noise_mode)
            randomize_noise = noise_mode == "random"
        if not input_is_latent:
            styles = [self.style(z) for z in styles]
        psi = truncation if truncation_psi == 1 else truncation_psi
        if psi < 1:
            center = self._center(truncation_latent)
            styles = [center + psi * (w - center) for w in styles]
        latent = self._latents(styles, inject_index)
        maps = self._noises(latent.shape[0], noise, randomize_noise, noise_mode == "none")
        x = self.conv1(self.input(latent), latent[:, 0], maps[0])
        image = self.to_rgb1(x, latent[:, 1])
        for j, to_rgb in enumerate(self.to_rgbs):
            x = self.convs[2 * j](x, latent[:, 2 * j + 1], maps[2 * j + 1])
            x = self.convs[2 * j + 1](x, latent[:, 2 * j + 2], maps[2 * j + 2])
            image = to_rgb(x, latent[:, 2 * j + 3], image)
        if is_single:
            return image
        return image, latent if return_latents else None

    def _center(self, given: torch.Tensor | None) -> torch.Tensor:
        if given is None:
            raise ValueError(
                "Generator: truncation below 1 needs truncation_latent; mean_latent(4096) makes it"
            )
        return given

    def _latents(self, styles: list[torch.Tensor], inject_index: int | None) -> torch.Tensor:
        """[N, n_latent, z_dim]: the second style from layer inject_index (drawn, if None) on."""
        if len(styles) == 1:
            w = styles[0]
            return w if w.dim() == 3 else w[:, None].expand(-1, self.n_latent, -1)
        if inject_index is None:
            inject_index = int(torch.randint(1, self.n_latent, ()))
        first = styles[0][:, None].expand(-1, inject_index, -1)
        return torch.cat(
            [first, styles[1][:, None].expand(-1, self.n_latent - inject_index, -1)], 1
        )

    def _noises(self, n, noise, is_random, is_none):
        if noise is not None:
            return noise
        kept = [self.noises.get_buffer(f"noise_{k}") for k in range(self.num_layers)]
        if is_none:
            return [torch.zeros_like(t) for t in kept]
        if not is_random:
            return kept
        return [
            sample_rng.normal(n, *t.shape[1:], device=t.device).to(t.dtype) for t in kept
        ]  # fmt: skip


class Discriminator(Pretrained, nn.Module):
    """x [N, img_channels, size, size] -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.c_dim = 0
        kernel, width = config.blur_kernel, config.channels(config.size)
        layers = [ConvLayer(config.img_channels, width, 1)]
        for i in range(int(math.log2(config.size)), 2, -1):
            o = config.channels(2 ** (i - 1))
            layers.append(ResBlock(width, o, kernel))
            width = o
        self.convs = nn.Sequential(*layers)
        self.final_conv = ConvLayer(width + 1, width, 3)
        self.final_linear = nn.Sequential(
            EqualLinear(width * 16, width, activation="fused_lrelu"), EqualLinear(width, 1)
        )

    def forward(self, x: torch.Tensor, c: None = None) -> torch.Tensor:
        side = self.config.size
        check_samples("Discriminator", x, (self.config.img_channels, side, side))
        x = self.convs(x.contiguous(memory_format=torch.channels_last))
        std = minibatch_stddev(x, _STDDEV_GROUP)  # [N, 1]
        x = torch.cat([x, std[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
        return self.final_linear(self.final_conv(x).flatten(1))
