# SPDX-License-Identifier: Apache-2.0
"""Rosinality's generator."""

import math

import torch
from torch import nn

from fastgan import sample_rng
from fastgan.models._network import Network
from fastgan.models.rosinality.config import Config
from fastgan.models.rosinality.layers import (
    ConstantInput,
    EqualLinear,
    PixelNorm,
    StyledConv,
    ToRGB,
)
from fastgan.nn.mapping import check_truncation
from fastgan.nn.noise import check_noise_mode


class Generator(Network):
    """styles, a list of one or two z [N, z_dim] -> (images, latents or None).

    Called with one tensor z instead of a list, as the training step does, it gives the images
    [N, img_channels, size, size] alone. ``forward`` takes:

    - styles: z [N, z_dim], or with ``input_is_latent`` w [N, z_dim] or [N, n_latent, z_dim];
    - return_latents: whether the second result is the latents [N, n_latent, z_dim] or None;
    - inject_index: the layer from which the second style is used; None: drawn;
    - truncation, or truncation_psi: below 1, moves w towards ``truncation_latent`` [1, z_dim];
    - noise: a list of one map [N or 1, 1, H, W] per layer, None for those to be drawn;
      else randomize_noise says whether maps are drawn or are the buffers, and noise_mode says the
      same in the words of other architectures: "random", "const" or "none";
    - update_w_avg: without effect.

    It raises ValueError for styles of another width or dtype, for a truncation that is no finite
    number, and for one below 1 without truncation_latent.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
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
            self.to_rgbs.append(ToRGB(o, d, channels=config.img_channels))
            width = o

    def make_noise(self) -> list[torch.Tensor]:
        """Draw the noise of every layer.

        Returns:
            A list of one map [1, 1, H, W] per layer.
        """
        names = [f"noise_{k}" for k in range(self.num_layers)]
        return [torch.randn_like(self.noises.get_buffer(name)) for name in names]

    def mean_latent(self, n_latent: int) -> torch.Tensor:
        """The mean of w over draws of z, which truncation moves towards.

        Args:
            n_latent: how many z are drawn; 4096 is usual.

        Returns:
            [1, z_dim].
        """
        like = self.input.input
        z = torch.randn(n_latent, self.style_dim, dtype=like.dtype, device=like.device)
        return self.style(z).mean(0, keepdim=True)

    def get_latent(self, z: torch.Tensor) -> torch.Tensor:
        """The mapping network alone.

        Args:
            z: [N, z_dim].

        Returns:
            w [N, z_dim].
        """
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
        check_truncation("Generator", truncation, name="truncation")
        check_truncation("Generator", truncation_psi)
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
