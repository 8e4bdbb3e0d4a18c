"""Sizes and choices of StyleGAN2."""

import math
from dataclasses import dataclass

import torch

from fastgan.models._checks import check_choice, check_config
from fastgan.models._config import PyramidConfig
from fastgan.models._pyramid import channels_at, size_name

ARCHITECTURES = ("orig", "skip", "resnet")
# The two branches of a residual sum keep unit variance together.
HALF_POWER = math.sqrt(0.5)
HALF_DTYPES = (None, "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class Config(PyramidConfig):
    """Sizes and choices of StyleGAN2.

    Channels at a map whose longer side is at most r = 2^k: min(channel_base / r, channel_max).

    Args:
        w_dim: width of the latents ws.
        channel_base: 32768 is StyleGAN2's full width, 16384 ADA's choice up to 256².
        channel_max: the largest width.
        mapping_layers: layers of G's mapping network; 2 is ADA's choice for small data.
        mapping_lr_multiplier: learning rate of the mapping networks over that of the rest.
        d_mapping_layers: layers of D's mapping network, which exists where c_dim > 0.
        w_avg_beta: how much of the mean w stays at each step, in [0, 1].
        g_architecture: "orig" (feed-forward), "skip" (a sum of images) or "resnet" (residual).
        d_architecture: the same for D, where "skip" reads the image at every size.
        mbstd_group: samples that D compares in its minibatch standard deviation; None: the whole
            batch.
        mbstd_channels: maps that hold it; 0: D compares no samples.
        conv_clamp: bound on every activation (256 for half precision); None: none.
        resample_filter: taps of the low-pass filter that up- and down-sampling use.
        fused_modconv: modulate by grouped convolution instead of scaling activations.
        half_dtype: "bfloat16" or "float16": the dtype of the maps of the ``half_sizes`` largest
            sizes, but the base, in G and D; styles, demodulation, image sums and D's last block
            keep the dtype of the latents or the image. None: that dtype everywhere. Wants a
            conv_clamp.
        half_sizes: how many sizes have ``half_dtype``, at least 1.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    w_dim: int = 512
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
        super().__post_init__()
        check_config(self, w_dim=1, channel_base=1, channel_max=1, mapping_layers=1)
        check_config(self, d_mapping_layers=1, mbstd_channels=0, half_sizes=1)
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

    def map_dtype(self, size: tuple[int, int]) -> torch.dtype | None:
        """The dtype of the maps of one size.

        Args:
            size: (height, width), one of ``sizes``.

        Returns:
            ``half_dtype`` as a dtype where maps of ``size`` have it, else None.
        """
        if self.half_dtype is None or size not in self.sizes[1:][-self.half_sizes :]:
            return None
        return getattr(torch, self.half_dtype)

    def channels(self, size: tuple[int, int]) -> int:
        """Channels of the maps of one size.

        Args:
            size: (height, width).

        Returns:
            Their number, at least 1.
        """
        return channels_at(size, self.channel_base, self.channel_max)

    @property
    def d_layers_from_image(self) -> tuple[str, ...]:
        """Names of D's layers whose first ones `d_frozen_layers` freezes, from the image on.

        They are fromrgb, conv0, conv1 and skip of each block, where it has them; the last block
        (minibatch standard deviation and what follows) and D's mapping network are not among them.
        """
        names = []
        for size in self.sizes[:0:-1]:
            is_first = size == self.sizes[-1]
            layers = ["fromrgb"] if is_first or self.d_architecture == "skip" else []
            layers += ["conv0", "conv1"] + (["skip"] if self.d_architecture == "resnet" else [])
            names += [f"{size_name(size)}.{layer}" for layer in layers]
        return tuple(names)
