"""StyleGAN3, configurations T (translation) and R (translation and rotation).

G = synthesis(mapping(z, c)): sines of a learned rotation and translation pass 14 layers whose
sampling rate and band grow towards the image; each layer bends its signal at twice the rate between
two low-pass filters. Equivariant by construction: moving the input's transform moves the image.
D is StyleGAN2's residual one. Square powers of two give the geometry and the state_dict keys of the
published models one to one; other sizes scale the shorter side.
Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks".
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from fastgan.models import stylegan2
from fastgan.models._checks import (
    check_choice,
    check_condition,
    check_config,
    check_latents,
)
from fastgan.models._pretrained import Pretrained
from fastgan.models._stylegan3_synthesis import SynthesisNetwork
from fastgan.nn import MappingNetwork
from fastgan.nn.noise import check_noise_mode

__all__ = ["Config", "Discriminator", "Generator"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes and choices of StyleGAN3; the defaults are T's.

    A layer of cutoff f has min(channel_base / 2 / f, channel_max) channels. R: `Config.rotation`.
    num_layers without the image's; the last num_critical are sampled critically. first_cutoff,
    first_stopband: of layer 0, in cycles per image; last_stopband_rel: the last stopband over that
    of the image, R / 2. magnitude_ema_beta: published models have 0.5^(batch / 20000).
    margin_size: samples around the map. filter_size: taps per factor of a resampling.
    half_dtype: "bfloat16" or "float16": the dtype of the layers at the half_layers largest
    sampling rates; None: that of the latents throughout.
    d_channel_base, d_channel_max, mbstd_group (None: the whole batch) and d_mapping_layers are
    D's.
    """

    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 0
    img_channels: int = 3
    img_height: int = 256
    img_width: int = 256
    channel_base: int = 32768
    channel_max: int = 512
    conv_kernel: int = 3
    use_radial_filters: bool = False
    num_layers: int = 14
    num_critical: int = 2
    first_cutoff: float = 2.0
    first_stopband: float = 2**2.1
    last_stopband_rel: float = 2**0.3
    margin_size: int = 10
    filter_size: int = 6
    output_scale: float = 0.25
    conv_clamp: float | None = 256.0
    magnitude_ema_beta: float = 0.999
    mapping_layers: int = 2
    mapping_lr_multiplier: float = 0.01
    w_avg_beta: float = 0.998
    half_dtype: str | None = None
    half_layers: int = 4
    d_channel_base: int = 32768
    d_channel_max: int = 512
    d_mapping_layers: int = 8
    mbstd_group: int | None = 4

    def __post_init__(self) -> None:
        check_config(self, z_dim=1, w_dim=1, c_dim=0, img_channels=1, img_height=4, img_width=4)
        check_config(self, channel_base=1, channel_max=1, conv_kernel=1, num_layers=2)
        check_config(self, num_critical=0, margin_size=0, filter_size=1, mapping_layers=1)
        check_config(self, half_layers=0, d_channel_base=1, d_channel_max=1, d_mapping_layers=1)
        if self.mbstd_group is not None:
            check_config(self, mbstd_group=1)
        check_choice(self, half_dtype=stylegan2.HALF_DTYPES)
        longest = max(self.img_height, self.img_width)
        if longest & (longest - 1):
            raise ValueError(
                "Config: the longer of img_height and img_width must be a power of two, got "
                f"{self.img_height}×{self.img_width}; resize the images or take stylegan2"
            )
        if self.num_critical >= self.num_layers:
            raise ValueError(
                f"Config: num_critical must be below num_layers = {self.num_layers}, got "
                f"{self.num_critical}"
            )
        if not 0 < self.first_cutoff < self.first_stopband:
            raise ValueError(
                "Config: first_cutoff must be above 0 and below first_stopband, got "
                f"{self.first_cutoff} and {self.first_stopband}"
            )

    @classmethod
    def rotation(cls, **fields: object) -> Self:
        """Configuration R: 1 × 1 convolutions, radial filters, twice the channels."""
        base, most = fields.pop("channel_base", 32768), fields.pop("channel_max", 512)
        return cls(
            conv_kernel=1,
            use_radial_filters=True,
            channel_base=2 * base,
            channel_max=2 * most,
            **fields,
        )

    @property
    def discriminator(self) -> stylegan2.Config:
        """Of D, which is StyleGAN2's."""
        return stylegan2.Config(
            c_dim=self.c_dim,
            img_channels=self.img_channels,
            img_height=self.img_height,
            img_width=self.img_width,
            channel_base=self.d_channel_base,
            channel_max=self.d_channel_max,
            d_mapping_layers=self.d_mapping_layers,
            mbstd_group=self.mbstd_group,
            conv_clamp=self.conv_clamp,
            half_dtype=self.half_dtype,
            half_sizes=max(self.half_layers, 1),
        )


class Generator(Pretrained, nn.Module):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    ``mapping(z, c, truncation_psi=, truncation_cutoff=)`` -> ws and ``synthesis(ws)`` -> images are
    its halves. ``synthesis.input.transform`` [3, 3], a buffer, moves and turns the image.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.z_dim = config.z_dim
        self.c_dim = config.c_dim
        self.w_dim = config.w_dim
        self.img_channels = config.img_channels
        self.img_resolution = max(config.img_height, config.img_width)
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
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        *,
        noise_mode: str = "none",
        force_fp32: bool = False,
        update_w_avg: bool = True,
    ) -> torch.Tensor:
        """noise_mode is checked and has no effect. update_w_avg: in training mode ``w_avg`` and
        the layers' ``magnitude_ema`` move."""
        check_latents("Generator", z, self.z_dim)
        check_condition("Generator", c, z.shape[0], self.c_dim)
        check_noise_mode("Generator", noise_mode)
        ws = self.mapping(
            z,
            c,
            truncation_psi=truncation_psi,
            truncation_cutoff=truncation_cutoff,
            update_w_avg=update_w_avg,
        )
        is_moving = self.training and update_w_avg
        return self.synthesis(ws, noise_mode, force_fp32=force_fp32, update_emas=is_moving)


class Discriminator(stylegan2.Discriminator):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.discriminator)
        self.config = config
