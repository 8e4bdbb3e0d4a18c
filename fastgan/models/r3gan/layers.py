# SPDX-License-Identifier: Apache-2.0
"""The layers of R3GAN, with the names of the published models' parameters."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from fastgan.models.r3gan.config import Config
from fastgan.nn._recompute import cast, dtype_of_product
from fastgan.ops import bias_act, conv2d, downsample2d, upsample2d

_SLOPE = 0.2
_GAIN = math.sqrt(2 / (1 + _SLOPE**2))  # of the leaky ReLU, in the weights' initial size


def scaled_normal(weight: torch.Tensor, gain: float = 1.0) -> nn.Parameter:
    """A parameter of `weight`'s shape from N(0, (gain / √fan-in)²)."""
    fan_in = weight[0].numel()
    return nn.Parameter(torch.randn(weight.shape) * (gain / math.sqrt(fan_in)))


class Linear(nn.Linear):
    """i -> o features with no bias, which starts at size `gain` and computes in x's dtype."""

    def __init__(self, i: int, o: int, gain: float = 1.0) -> None:
        super().__init__(i, o, bias=False)
        self.weight = scaled_normal(self.weight, gain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, cast(self.weight, dtype_of_product(x)).tensor)


class Convolution(nn.Module):
    """'Same'-padded, no bias; the weight is at ``Layer.weight`` and starts at size `gain`."""

    def __init__(self, i: int, o: int, k: int, groups: int = 1, gain: float = 1.0) -> None:
        super().__init__()
        self.Layer = nn.Conv2d(i, o, k, padding=k // 2, groups=groups, bias=False)
        w = scaled_normal(self.Layer.weight, gain).detach()
        # As the maps are: no pass copies it, nor the sum of its gradients, into their layout.
        self.Layer.weight = nn.Parameter(w.contiguous(memory_format=torch.channels_last))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.Layer
        w = cast(layer.weight, dtype_of_product(x)).tensor
        return conv2d(x, w, padding=layer.padding, groups=layer.groups)


class BiasedActivation(nn.Module):
    """leaky_relu(x + Bias, 0.2); the gain that keeps the variance is in the weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.Bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return bias_act(x, cast(self.Bias, x.dtype).tensor, act="lrelu", alpha=_SLOPE, gain=1)


class ResidualBlock(nn.Module):
    """x + LinearLayer3(act(LinearLayer2(act(LinearLayer1 x)))): expand, in groups, contract."""

    def __init__(self, config: Config, width: int, groups: int) -> None:
        super().__init__()
        inner, layers = width * config.expansion, 3
        gain = _GAIN * sum(config.blocks) ** (-1 / (2 * layers - 2))
        self.LinearLayer1 = Convolution(width, inner, 1, gain=gain)
        self.LinearLayer2 = Convolution(inner, inner, config.kernel_size, groups, gain)
        self.LinearLayer3 = Convolution(inner, width, 1, gain=0.0)
        self.NonLinearity1 = BiasedActivation(inner)
        self.NonLinearity2 = BiasedActivation(inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.NonLinearity1(self.LinearLayer1(x))
        y = self.NonLinearity2(self.LinearLayer2(y))
        return x + self.LinearLayer3(y)


def resampling_kernel(weights: Sequence[float]) -> torch.Tensor:
    """[k, k] of sum 1 for k - 1 weights: the outer product of the weights convolved with [1, 1]."""
    taps = torch.tensor(weights, dtype=torch.float64)
    taps = F.pad(taps, (0, 1)) + F.pad(taps, (1, 0))
    kernel = taps.outer(taps)
    return (kernel / kernel.sum()).float()


class Resampler(nn.Module):
    """x [N, C, H, W] -> [N, C, 2·H, 2·W], with 4 times the kernel, or [N, C, H / 2, W / 2]."""

    def __init__(self, weights: Sequence[float], is_up: bool) -> None:
        super().__init__()
        self.resample = upsample2d if is_up else downsample2d
        self.register_buffer("Kernel", resampling_kernel(weights))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.resample(x, self.Kernel)


class Transition(nn.Module):
    """To another size and, by a 1 × 1 convolution on the smaller map, another width."""

    def __init__(self, config: Config, i: int, o: int, is_up: bool) -> None:
        super().__init__()
        self.is_up = is_up
        self.Resampler = Resampler(config.resample_filter, is_up)
        if i != o:
            self.LinearLayer = Convolution(i, o, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change = self.LinearLayer if hasattr(self, "LinearLayer") else nn.Identity()
        return self.Resampler(change(x)) if self.is_up else change(self.Resampler(x))


class Stage(nn.Module):
    """``Layers``, one after the other, in the dtype of the stage (counted from 0 for 4 × 4)."""

    def __init__(self, config: Config, stage: int, layers: list[nn.Module]) -> None:
        super().__init__()
        self.config, self.stage = config, stage
        self.Layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """dtype: of the network's input, in which stages outside `bf16_stages` compute."""
        x = x.to(self.config.stage_dtype(self.stage, dtype))
        for layer in self.Layers:
            x = layer(x)
        return x


def residual_blocks(config: Config, stage: int) -> list[nn.Module]:
    """The residual blocks of one stage."""
    width, groups = config.widths[stage], config.groups[stage]
    return [ResidualBlock(config, width, groups) for _ in range(config.blocks[stage])]
