# SPDX-License-Identifier: Apache-2.0
"""Sizes and choices of StyleGAN2."""

import math
from dataclasses import dataclass, replace
from typing import Self

import torch

from fastgan.models._checks import check_choice, check_config
from fastgan.models._config import PyramidConfig
from fastgan.models._pyramid import channels_at, size_name
from fastgan.ops.bias_act import ACTIVATIONS

ARCHITECTURES = ("orig", "skip", "resnet")
# The two branches of a residual sum keep unit variance together.
HALF_POWER = math.sqrt(0.5)
HALF_DTYPES = (None, "bfloat16", "float16")
# Fields of G and D of which D may have another value, under the name with d_.
_D_OWN = ("widths", "mapping_lr_multiplier", "mapping_activation", "activation", "conv_clamp",
          "resample_filter", "half_sizes")  # fmt: skip
# The taps in the buffer of a layer that does not resample: nothing reads it, and in published files
# it holds the layer's default, whatever filter the network resamples with.
UNUSED_FILTER = (1.0, 3.0, 3.0, 1.0)


def default_gain(activation: str) -> float:
    """The gain that keeps the second moment of a unit normal input, of each activation."""
    return ACTIVATIONS[activation].gain


def dtype_of_maps(half: torch.dtype | None, half_on_cpu: bool, x: torch.Tensor) -> torch.dtype:
    """``half`` where there is one and it holds on x's device, else x's dtype."""
    return x.dtype if half is None or (x.is_cpu and not half_on_cpu) else half


@dataclass(frozen=True, kw_only=True)
class Config(PyramidConfig):
    """Sizes and choices of StyleGAN2.

    Channels at a map whose longer side is at most r = 2^k: min(channel_base / r, channel_max).
    Fields from ``d_widths`` on are D's own value of the field of that name without "d_", which is
    then G's alone.

    Args:
        w_dim: width of the latents ws.
        channel_base: 32768 is StyleGAN2's full width, 16384 ADA's choice up to 256².
        channel_max: the largest width.
        widths: channels at each size from the base to the image; None: as above.
        mapping_layers: layers of G's mapping network; 2 is ADA's choice for small data.
        mapping_lr_multiplier: learning rate of the mapping networks over that of the rest.
        mapping_activation: of the mapping networks, a name that ``fastgan.ops.bias_act`` takes.
        embed_features: width of the embedded condition in G's mapping network; None: w_dim.
        layer_features: width between the layers of G's mapping network; None: w_dim.
        d_mapping_layers: layers of D's mapping network, which exists where c_dim > 0.
        d_embed_features: width of the embedded condition in D's mapping network; None: cmap_dim.
        d_layer_features: width between the layers of D's mapping network; None: cmap_dim.
        cmap_dim: width of the condition that D's last features are projected on; None: D's channels
            at the base.
        w_avg_beta: how much of the mean w stays at each step, in [0, 1]; None: there is no mean w,
            and images can't be truncated.
        g_architecture: "orig" (feed-forward), "skip" (a sum of images) or "resnet" (residual).
        d_architecture: the same for D, where "skip" reads the image at every size.
        kernel_size: side of the kernels of G's convolutions, odd.
        use_noise: whether G's layers add noise; without, ``noise_mode`` has no effect.
        activation: of the convolutions, a name that ``fastgan.ops.bias_act`` takes.
        d_epilogue_activation: of D's layers at the base; None: that of its other layers.
        mbstd_group: samples that D compares in its minibatch standard deviation; None: the whole
            batch.
        mbstd_channels: maps that hold it; 0: D compares no samples.
        conv_clamp: bound on every activation (256 for half precision), above 0; None: none.
        resample_filter: taps of the low-pass filter that up- and down-sampling use.
        skip_filter: taps of the filter that up-samples G's sum of images; None: resample_filter.
        fused_modconv: modulate by grouped convolution instead of scaling activations, but on a CPU,
            where that is slower; the values are the same up to rounding.
        half_dtype: "bfloat16" or "float16": the dtype of the maps of the ``half_sizes`` largest
            sizes, but the base, in G and D; styles, demodulation, image sums and D's last block
            keep the dtype of the latents or the image. None: that dtype everywhere. Wants a
            conv_clamp.
        half_sizes: how many sizes have ``half_dtype``, at least 0.
        half_on_cpu: whether half_dtype holds on a CPU, too; False: on CUDA alone, as in the
            published code.
        d_widths: None: as ``widths``.
        d_mapping_lr_multiplier: None: as ``mapping_lr_multiplier``.
        d_mapping_activation: None: as ``mapping_activation``.
        d_activation: None: as ``activation``.
        d_conv_clamp: None: as ``conv_clamp``; 0: none.
        d_resample_filter: None: as ``resample_filter``.
        d_half_sizes: None: as ``half_sizes``.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    w_dim: int = 512
    channel_base: int = 32768
    channel_max: int = 512
    widths: tuple[int, ...] | None = None
    mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    mapping_activation: str = "lrelu"
    embed_features: int | None = None
    layer_features: int | None = None
    d_mapping_layers: int = 8
    d_embed_features: int | None = None
    d_layer_features: int | None = None
    cmap_dim: int | None = None
    w_avg_beta: float | None = 0.998
    g_architecture: str = "skip"
    d_architecture: str = "resnet"
    kernel_size: int = 3
    use_noise: bool = True
    activation: str = "lrelu"
    d_epilogue_activation: str | None = None
    mbstd_group: int | None = 4
    mbstd_channels: int = 1
    conv_clamp: float | None = None
    resample_filter: tuple[float, ...] = (1, 3, 3, 1)
    skip_filter: tuple[float, ...] | None = None
    fused_modconv: bool = False
    half_dtype: str | None = None
    half_sizes: int = 4
    half_on_cpu: bool = True
    d_widths: tuple[int, ...] | None = None
    d_mapping_lr_multiplier: float | None = None
    d_mapping_activation: str | None = None
    d_activation: str | None = None
    d_conv_clamp: float | None = None
    d_resample_filter: tuple[float, ...] | None = None
    d_half_sizes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self, w_dim=1, channel_base=1, channel_max=1, mapping_layers=1, kernel_size=1)
        check_config(self, d_mapping_layers=1, mbstd_channels=0, half_sizes=0)
        optional = {"mbstd_group": 1, "embed_features": 1, "layer_features": 1, "cmap_dim": 1,
                    "d_embed_features": 1, "d_layer_features": 1, "d_half_sizes": 0}  # fmt: skip
        check_config(self, **{k: n for k, n in optional.items() if getattr(self, k) is not None})
        check_choice(self, half_dtype=HALF_DTYPES, use_noise=(False, True))
        check_choice(self, g_architecture=ARCHITECTURES, d_architecture=ARCHITECTURES)
        check_choice(self, activation=ACTIVATIONS, mapping_activation=ACTIVATIONS)
        own = (None, *ACTIVATIONS)
        check_choice(self, d_activation=own, d_mapping_activation=own, d_epilogue_activation=own)
        if self.conv_clamp is not None and not self.conv_clamp > 0:
            raise ValueError(f"Config: conv_clamp must be None or > 0, got {self.conv_clamp!r}")
        if self.d_conv_clamp is not None and not self.d_conv_clamp >= 0:
            raise ValueError(
                f"Config: d_conv_clamp must be None (as conv_clamp), 0 (none) or > 0, got "
                f"{self.d_conv_clamp!r}"
            )
        if self.kernel_size % 2 == 0:
            raise ValueError(f"Config: kernel_size must be odd, got {self.kernel_size}")
        for name in ("resample_filter", "skip_filter", "d_resample_filter", "widths", "d_widths"):
            if getattr(self, name) is not None:  # JSON gives lists
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("widths", "d_widths"):
            widths = getattr(self, name)
            if widths is not None and (len(widths) != len(self.sizes) or not min(widths) >= 1):
                raise ValueError(
                    f"Config: {name} must be None or {len(self.sizes)} widths >= 1, one per size "
                    f"from the base to the image, got {widths}"
                )
        base = self.channels(self.sizes[0]) if self.d_widths is None else self.d_widths[0]
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
        count = min(self.half_sizes, len(self.sizes) - 1)  # the base is never among them
        if self.half_dtype is None or size not in self.sizes[len(self.sizes) - count :]:
            return None
        return getattr(torch, self.half_dtype)

    def channels(self, size: tuple[int, int]) -> int:
        """Channels of the maps of one size.

        Args:
            size: (height, width); one of ``sizes`` where there are ``widths``.

        Returns:
            Their number, at least 1.
        """
        if self.widths is not None:
            return self.widths[self.sizes.index(size)]
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

    @property
    def discriminator(self) -> Self:
        """What D is made of: D's own values in the fields that G and D share."""
        own = {name: getattr(self, f"d_{name}") for name in _D_OWN}
        fields = {name: value for name, value in own.items() if value is not None}
        if self.d_conv_clamp == 0:
            fields["conv_clamp"] = None
        return replace(
            self,
            embed_features=self.d_embed_features,
            layer_features=self.d_layer_features,
            **fields,
            **dict.fromkeys((f"d_{name}" for name in _D_OWN), None),
        )
