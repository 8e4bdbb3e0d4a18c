# SPDX-License-Identifier: Apache-2.0
"""Sizes and choices of StyleGAN3."""

from dataclasses import dataclass
from typing import Self

from fastgan.models._checks import check_choice, check_config
from fastgan.models._config import ImageConfig
from fastgan.models.stylegan2.config import HALF_DTYPES
from fastgan.models.stylegan2.config import Config as StyleGAN2Config

# {field of StyleGAN2's Config that D is made of: the field of this Config}
D_FIELDS = {
    "channel_base": "d_channel_base", "channel_max": "d_channel_max", "widths": "d_widths",
    "activation": "d_activation", "conv_clamp": "d_conv_clamp", "half_sizes": "d_half_sizes",
    "resample_filter": "d_resample_filter", "mapping_lr_multiplier": "d_mapping_lr_multiplier",
    "mapping_activation": "d_mapping_activation",
} | {
    name: name
    for name in (
        "c_dim", "img_channels", "img_height", "img_width", "half_dtype", "half_on_cpu",
        "d_architecture", "d_epilogue_activation", "d_mapping_layers", "d_embed_features",
        "d_layer_features", "cmap_dim", "mbstd_group", "mbstd_channels",
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    """Sizes and choices of StyleGAN3; the defaults are T's.

    A layer of cutoff f has min(channel_base / 2 / f, channel_max) channels. R: `Config.rotation`.

    Args:
        w_dim: width of the latents ws.
        channel_base: of G, see above.
        channel_max: the largest width of G.
        conv_kernel: side of the kernels of G's convolutions.
        use_radial_filters: down-sample with filters that look the same in every direction.
        num_layers: layers of G without the image's, at least 2.
        num_critical: how many of the last layers are sampled critically, below num_layers.
        first_cutoff: of layer 0, in cycles per image.
        first_stopband: of layer 0, in cycles per image, above first_cutoff.
        last_stopband_rel: the last stopband over that of the image, R / 2.
        margin_size: samples around a map on each side.
        filter_size: taps of a resampling filter per factor of the resampling.
        lrelu_upsampling: sampling rate at which a layer bends its signal, over the larger of its
            own and the rate of its input.
        output_scale: what the last layer's output is multiplied by.
        conv_clamp: bound on every activation; None: none.
        magnitude_ema_beta: how much of a layer's mean magnitude stays at each step; the published
            models have 0.5^(batch / 20000).
        mapping_layers: layers of G's mapping network.
        mapping_lr_multiplier: learning rate of the mapping network over that of the rest.
        w_avg_beta: how much of the mean w stays at each step, in [0, 1]; None: there is no mean w,
            and so no truncation.
        half_dtype: "bfloat16" or "float16": the dtype of the layers at the half_layers largest
            sampling rates; None: that of the latents throughout.
        half_layers: see half_dtype.
        half_on_cpu: whether half_dtype holds on a CPU, too; False: on CUDA alone, as in the
            published code.
        d_channel_base: the channel_base of D; this and what follows as in StyleGAN2's Config.
        d_channel_max: the largest width of D.
        d_widths: channels of D at each size from the base to the image; None: as above.
        d_architecture: "orig", "skip" or "resnet".
        d_activation: of D's layers, a name that ``fastgan.ops.bias_act`` takes.
        d_epilogue_activation: of D's layers at the base; None: d_activation.
        d_conv_clamp: bound on every activation of D; None: conv_clamp; 0: none.
        d_resample_filter: taps of the low-pass filter with which D down-samples.
        d_half_sizes: how many of D's largest sizes have half_dtype; None: half_layers.
        d_mapping_layers: layers of D's mapping network, which exists where c_dim > 0.
        d_mapping_lr_multiplier: learning rate of D's mapping network over that of the rest.
        d_mapping_activation: of D's mapping network.
        d_embed_features: width of the embedded condition in D's mapping network; None: cmap_dim.
        d_layer_features: width between the layers of D's mapping network; None: cmap_dim.
        cmap_dim: width of the condition that D's last features are projected on; None: D's channels
            at the base.
        mbstd_group: samples that D compares in its minibatch standard deviation; None: the whole
            batch.
        mbstd_channels: maps that hold it; 0: D compares no samples.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    w_dim: int = 512
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
    lrelu_upsampling: int = 2
    output_scale: float = 0.25
    conv_clamp: float | None = 256.0
    magnitude_ema_beta: float = 0.999
    mapping_layers: int = 2
    mapping_lr_multiplier: float = 0.01
    w_avg_beta: float | None = 0.998
    half_dtype: str | None = None
    half_layers: int = 4
    half_on_cpu: bool = True
    d_channel_base: int = 32768
    d_channel_max: int = 512
    d_widths: tuple[int, ...] | None = None
    d_architecture: str = "resnet"
    d_activation: str = "lrelu"
    d_epilogue_activation: str | None = None
    d_conv_clamp: float | None = None
    d_resample_filter: tuple[float, ...] = (1, 3, 3, 1)
    d_half_sizes: int | None = None
    d_mapping_layers: int = 8
    d_mapping_lr_multiplier: float = 0.01
    d_mapping_activation: str = "lrelu"
    d_embed_features: int | None = None
    d_layer_features: int | None = None
    cmap_dim: int | None = None
    mbstd_group: int | None = 4
    mbstd_channels: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self, w_dim=1, img_height=4, img_width=4)
        check_config(self, channel_base=1, channel_max=1, conv_kernel=1, num_layers=2)
        check_config(self, num_critical=0, margin_size=0, filter_size=1, lrelu_upsampling=1)
        check_config(self, mapping_layers=1, half_layers=0)
        check_choice(self, half_dtype=HALF_DTYPES)
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
        if self.conv_clamp is not None and not self.conv_clamp > 0:
            raise ValueError(f"Config: conv_clamp must be None or > 0, got {self.conv_clamp!r}")
        if not 0 <= self.magnitude_ema_beta <= 1:
            raise ValueError(
                f"Config: magnitude_ema_beta must lie in [0, 1], got {self.magnitude_ema_beta!r}"
            )
        if not 0 < self.first_cutoff < self.first_stopband:
            raise ValueError(
                "Config: first_cutoff must be above 0 and below first_stopband, got "
                f"{self.first_cutoff} and {self.first_stopband}"
            )
        for name in ("d_widths", "d_resample_filter"):
            if getattr(self, name) is not None:  # JSON gives lists
                object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_discriminator()

    def _check_discriminator(self) -> None:
        check_config(self, d_channel_base=1, d_channel_max=1)
        if self.d_conv_clamp is not None and not self.d_conv_clamp >= 0:
            raise ValueError(
                "Config: d_conv_clamp must be None (as conv_clamp), 0 (none) or > 0, got "
                f"{self.d_conv_clamp!r}"
            )
        self.discriminator  # noqa: B018  its Config refuses the rest

    @classmethod
    def rotation(cls, **fields: object) -> Self:
        """Configuration R: 1 × 1 convolutions, radial filters, twice the channels.

        Args:
            fields: fields of Config; channel_base and channel_max are doubled.

        Returns:
            The Config.
        """
        base, most = fields.pop("channel_base", 32768), fields.pop("channel_max", 512)
        return cls(
            conv_kernel=1,
            use_radial_filters=True,
            channel_base=2 * base,
            channel_max=2 * most,
            **fields,
        )

    @property
    def discriminator(self) -> StyleGAN2Config:
        """The Config of D, which is StyleGAN2's."""
        fields = {name: getattr(self, ours) for name, ours in D_FIELDS.items()}
        if self.d_conv_clamp is None:
            fields["conv_clamp"] = self.conv_clamp
        elif self.d_conv_clamp == 0:
            fields["conv_clamp"] = None
        if self.d_half_sizes is None:
            fields["half_sizes"] = self.half_layers
        return StyleGAN2Config(**fields)

    @property
    def d_layers_from_image(self) -> tuple[str, ...]:
        """Names of D's layers that can be frozen, as in StyleGAN2's Config."""
        return self.discriminator.d_layers_from_image
