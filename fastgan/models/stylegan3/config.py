"""Sizes and choices of StyleGAN3."""

from dataclasses import dataclass
from typing import Self

from fastgan.models._checks import check_choice, check_config
from fastgan.models._config import ImageConfig
from fastgan.models.stylegan2.config import HALF_DTYPES
from fastgan.models.stylegan2.config import Config as StyleGAN2Config


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
        d_channel_base: the channel_base of D.
        d_channel_max: the largest width of D.
        d_mapping_layers: layers of D's mapping network, which exists where c_dim > 0.
        mbstd_group: samples that D compares in its minibatch standard deviation; None: the whole
            batch.

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
    d_mapping_layers: int = 8
    mbstd_group: int | None = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self, w_dim=1, img_height=4, img_width=4)
        check_config(self, channel_base=1, channel_max=1, conv_kernel=1, num_layers=2)
        check_config(self, num_critical=0, margin_size=0, filter_size=1, lrelu_upsampling=1)
        check_config(self, mapping_layers=1, half_layers=0)
        check_config(self, d_channel_base=1, d_channel_max=1, d_mapping_layers=1)
        if self.mbstd_group is not None:
            check_config(self, mbstd_group=1)
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
        return StyleGAN2Config(
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
            half_sizes=self.half_layers,
            half_on_cpu=self.half_on_cpu,
        )

    @property
    def d_layers_from_image(self) -> tuple[str, ...]:
        """Names of D's layers that can be frozen, as in StyleGAN2's Config."""
        return self.discriminator.d_layers_from_image
