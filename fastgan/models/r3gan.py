"""R3GAN: residual blocks without normalisation, for a relativistic loss with R1 and R2.

G: [z, embed(c)] -> 4 × 4 basis -> stages of residual blocks, each but the last followed by a
bilinear doubling -> 1 × 1 to the image. D mirrors it, from 1 × 1 to a depthwise 4 × 4 convolution
and a linear layer, projected on embed(c) where conditional. A block adds
contract(act(grouped 3 × 3(act(expand x)))) to x; only activations have biases, and the last
convolution of a block starts at 0. The state_dict keys are the published models'.
Source: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN", section 4
and appendix; its Fix-up initialisation, Zhang et al. 2019.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from fastgan.models._checks import (
    check_condition,
    check_config,
    check_latents,
    check_samples,
)
from fastgan.models._pretrained import Pretrained
from fastgan.nn.noise import check_noise_mode
from fastgan.ops import bias_act, conv2d, downsample2d, setup_filter, upsample2d

__all__ = ["Config", "Discriminator", "Generator"]

_SLOPE = 0.2
_GAIN = math.sqrt(2 / (1 + _SLOPE**2))  # of the leaky ReLU, in the weights' initial size
_RESAMPLING = (1, 2, 1)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of R3GAN, from 4 × 4 to the image; the defaults are those published for FFHQ 64 × 64.

    widths: channels of each stage; as many stages as make 4·2^(stages - 1) the image's side.
    blocks: residual blocks of each stage. groups: of the 3 × 3 convolutions of each stage.
    expansion: a block's inner width over its outer. embed_dim: of the condition; None is z_dim.
    Published, by the paper's tables: CIFAR-10 has the first four stages of the defaults, FFHQ 256
    goes on with widths 192 and 96 and groups 24 and 12. Sizes of other sets: by the user.
    """

    z_dim: int = 64
    c_dim: int = 0
    img_channels: int = 3
    img_height: int = 64
    img_width: int = 64
    widths: Sequence[int] = (768, 768, 768, 768, 384)
    blocks: Sequence[int] = (2, 2, 2, 2, 2)
    groups: Sequence[int] = (96, 96, 96, 96, 48)
    expansion: int = 2
    kernel_size: int = 3
    embed_dim: int | None = None

    def __post_init__(self) -> None:
        check_config(self, z_dim=1, c_dim=0, img_channels=1, img_height=4, img_width=4)
        check_config(self, expansion=1, kernel_size=1)
        for name in ("widths", "blocks", "groups"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON gives lists
        stages = len(self.widths)
        if not stages == len(self.blocks) == len(self.groups) or stages == 0:
            raise ValueError(
                "Config: widths, blocks and groups must have one entry per stage, got "
                f"{stages}, {len(self.blocks)} and {len(self.groups)}"
            )
        side = 4 * 2 ** (stages - 1)
        if (self.img_height, self.img_width) != (side, side):
            raise ValueError(
                f"Config: {stages} stages make images of {side}×{side}, got img_height="
                f"{self.img_height} and img_width={self.img_width}; add or drop stages"
            )
        for width, groups in zip(self.widths, self.groups, strict=True):
            if width < 1 or groups < 1 or width * self.expansion % groups:
                raise ValueError(
                    "Config: groups must divide widths · expansion in each stage, got "
                    f"{groups} for {width} · {self.expansion}"
                )
        if self.kernel_size % 2 == 0:
            raise ValueError(f"Config: kernel_size must be odd, got {self.kernel_size}")

    @property
    def condition_dim(self) -> int:
        """Width of the embedded condition."""
        return self.z_dim if self.embed_dim is None else self.embed_dim


def _start(weight: torch.Tensor, gain: float = 1.0) -> nn.Parameter:
    """N(0, (gain / √fan-in)²)."""
    fan_in = weight[0].numel()
    return nn.Parameter(torch.randn(weight.shape) * (gain / math.sqrt(fan_in)))


def _linear(i: int, o: int, gain: float = 1.0) -> nn.Linear:
    layer = nn.Linear(i, o, bias=False)
    layer.weight = _start(layer.weight, gain)
    return layer


class _Convolution(nn.Module):
    """'Same'-padded, no bias; the weight is at ``Layer.weight`` and starts at size `gain`."""

    def __init__(self, i: int, o: int, k: int, groups: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        self.Layer = nn.Conv2d(i, o, k, padding=k // 2, groups=groups, bias=False)
        self.Layer.weight = _start(self.Layer.weight, gain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.Layer
        return conv2d(x, layer.weight.to(x.dtype), padding=layer.padding, groups=layer.groups)


class _BiasedActivation(nn.Module):
    """leaky_relu(x + Bias, 0.2); the gain that keeps the variance is in the weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.Bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return bias_act(x, self.Bias, act="lrelu", alpha=_SLOPE, gain=1)


class _ResidualBlock(nn.Module):
    """x + LinearLayer3(act(LinearLayer2(act(LinearLayer1 x)))): expand, in groups, contract."""

    def __init__(self, config: Config, width: int, groups: int) -> None:
        super().__init__()
        inner, layers = width * config.expansion, 3
        gain = _GAIN * sum(config.blocks) ** (-1 / (2 * layers - 2))
        self.LinearLayer1 = _Convolution(width, inner, 1, gain=gain)
        self.LinearLayer2 = _Convolution(inner, inner, config.kernel_size, groups, gain)
        self.LinearLayer3 = _Convolution(inner, width, 1, gain=0.0)
        self.NonLinearity1 = _BiasedActivation(inner)
        self.NonLinearity2 = _BiasedActivation(inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.NonLinearity1(self.LinearLayer1(x))
        y = self.NonLinearity2(self.LinearLayer2(y))
        return x + self.LinearLayer3(y)


class _Resampler(nn.Module):
    def __init__(self, is_up: bool) -> None:
        super().__init__()
        self.resample = upsample2d if is_up else downsample2d
        self.register_buffer("Kernel", setup_filter(_RESAMPLING))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.resample(x, self.Kernel)


class _Transition(nn.Module):
    """To another size and, by a 1 × 1 convolution on the smaller map, another width."""

    def __init__(self, i: int, o: int, is_up: bool) -> None:
        super().__init__()
        self.is_up = is_up
        self.Resampler = _Resampler(is_up)
        if i != o:
            self.LinearLayer = _Convolution(i, o, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change = self.LinearLayer if hasattr(self, "LinearLayer") else nn.Identity()
        return self.Resampler(change(x)) if self.is_up else change(self.Resampler(x))


class _GenerativeBasis(nn.Module):
    """z [N, i] -> [N, o, 4, 4]: learned maps, each scaled by a linear function of z."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.Basis = nn.Parameter(torch.randn(o, 4, 4))
        self.LinearLayer = _linear(i, o)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        scales = self.LinearLayer(z)  # [N, o]
        return self.Basis.to(z.dtype) * scales[:, :, None, None]


class _DiscriminativeBasis(nn.Module):
    """x [N, i, 4, 4] -> [N, o]: one learned sum per map, then a linear layer."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.Basis = nn.Conv2d(i, i, 4, groups=i, bias=False)
        self.Basis.weight = _start(self.Basis.weight)
        self.LinearLayer = _linear(i, o)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sums = (x * self.Basis.weight[:, 0].to(x.dtype)).sum((2, 3))  # [N, i]
        return self.LinearLayer(sums)


class _Stage(nn.Module):
    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.Layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.Layers:
            x = layer(x)
        return x


def _blocks(config: Config, stage: int) -> list[nn.Module]:
    width, groups = config.widths[stage], config.groups[stage]
    return [_ResidualBlock(config, width, groups) for _ in range(config.blocks[stage])]


class _GeneratorModel(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        widths, features = config.widths, config.z_dim
        if config.c_dim > 0:
            self.EmbeddingLayer = _linear(config.c_dim, config.condition_dim)
            features += config.condition_dim
        stages = []
        for i, width in enumerate(widths):
            first = _Transition(widths[i - 1], width, True) if i else None
            first = first or _GenerativeBasis(features, width)
            stages.append(_Stage([first, *_blocks(config, i)]))
        self.MainLayers = nn.ModuleList(stages)
        self.AggregationLayer = _Convolution(widths[-1], config.img_channels, 1)

    def forward(self, z: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        x = z if c is None else torch.cat([z, self.EmbeddingLayer(c)], 1)
        for stage in self.MainLayers:
            x = stage(x)
        return self.AggregationLayer(x)


class _DiscriminatorModel(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        widths = config.widths[::-1]
        o = 1
        if config.c_dim > 0:
            o = config.condition_dim
            self.EmbeddingLayer = _linear(config.c_dim, o, 1 / math.sqrt(o))
        stages = []
        for i, width in enumerate(widths):
            is_last = i == len(widths) - 1
            last = (
                _DiscriminativeBasis(width, o)
                if is_last
                else _Transition(width, widths[i + 1], False)
            )
            stages.append(_Stage([*_blocks(config, len(widths) - 1 - i), last]))
        self.MainLayers = nn.ModuleList(stages)
        self.ExtractionLayer = _Convolution(config.img_channels, widths[0], 1)

    def forward(self, x: torch.Tensor, c: torch.Tensor | None) -> torch.Tensor:
        x = self.ExtractionLayer(x)
        for stage in self.MainLayers:
            x = stage(x)
        return x if c is None else (x * self.EmbeddingLayer(c)).sum(1, keepdim=True)


class Generator(Pretrained, nn.Module):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    ``truncation_psi`` scales z towards its mean 0; ``noise_mode`` is checked and has no effect.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.z_dim = config.z_dim
        self.c_dim = config.c_dim
        self.img_channels = config.img_channels
        self.img_resolution = config.img_width
        self.Model = _GeneratorModel(config)

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        *,
        noise_mode: str = "none",
        update_w_avg: bool = True,
    ) -> torch.Tensor:
        check_latents("Generator", z, self.z_dim)
        check_condition("Generator", c, z.shape[0], self.c_dim)
        check_noise_mode("Generator", noise_mode)
        z = z if truncation_psi == 1 else z * truncation_psi
        return self.Model(z, c.to(z.dtype) if self.c_dim > 0 else None)


class Discriminator(Pretrained, nn.Module):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.c_dim = config.c_dim
        self.Model = _DiscriminatorModel(config)

    def forward(self, x: torch.Tensor, c: torch.Tensor | None = None) -> torch.Tensor:
        config = self.config
        shape = (config.img_channels, config.img_height, config.img_width)
        check_samples("Discriminator", x, shape)
        check_condition("Discriminator", c, x.shape[0], self.c_dim)
        x = x.contiguous(memory_format=torch.channels_last)
        return self.Model(x, c.to(x.dtype) if self.c_dim > 0 else None)
