"""The layers of rosinality's stylegan2-pytorch, on our ops, with its names of parameters.

Everywhere a weight is drawn from N(0, 1) (over lr_mul) and multiplied at run time by 1 / √fan-in
(times lr_mul): Karras et al. 2018, section 4.1.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn

from fastgan.nn import FusedLeakyReLU
from fastgan.nn.norm import pixel_norm
from fastgan.ops import (
    bias_act,
    conv2d,
    modulated_conv2d,
    noise_bias_act,
    setup_filter,
    upfirdn2d,
)

_SQRT2 = math.sqrt(2)


class PixelNorm(nn.Module):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return pixel_norm(input)


class _Fir(nn.Module):
    """upfirdn2d with a buffer ``kernel``."""

    def __init__(self, kernel: Sequence[float], gain: float, up: int, down: int, pad) -> None:
        super().__init__()
        self.register_buffer("kernel", setup_filter(kernel, separable=False) * gain)
        self.up, self.down, self.pad = up, down, pad

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return upfirdn2d(input, self.kernel, self.up, self.down, self.pad)


class Upsample(_Fir):
    def __init__(self, kernel: Sequence[float], factor: int = 2) -> None:
        p = len(kernel) - factor
        pads = ((p + 1) // 2 + factor - 1, p // 2) * 2
        super().__init__(kernel, factor**2, factor, 1, pads)


class Downsample(_Fir):
    def __init__(self, kernel: Sequence[float], factor: int = 2) -> None:
        p = len(kernel) - factor
        super().__init__(kernel, 1, 1, factor, ((p + 1) // 2, p // 2) * 2)


class Blur(_Fir):
    """pad: (before, after) on both axes; upsample_factor: of what was up-sampled before."""

    def __init__(
        self, kernel: Sequence[float], pad: tuple[int, int], upsample_factor: int = 1
    ) -> None:
        super().__init__(kernel, upsample_factor**2, 1, 1, tuple(pad) * 2)


class EqualConv2d(nn.Module):
    def __init__(
        self,
        in_channel: int,
        out_channel: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channel, in_channel, kernel_size, kernel_size))
        self.scale = 1 / math.sqrt(in_channel * kernel_size**2)
        self.stride = stride
        self.padding = padding
        self.bias = nn.Parameter(torch.zeros(out_channel)) if bias else None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        w = (self.weight * self.scale).to(input.dtype)
        y = conv2d(input, w, stride=self.stride, padding=self.padding)
        return y if self.bias is None else bias_act(y, self.bias)


class EqualLinear(nn.Module):
    """activation: None, or "fused_lrelu": leaky ReLU 0.2 times √2."""

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        bias: bool = True,
        bias_init: float = 0,
        lr_mul: float = 1,
        activation: str | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_dim, in_dim) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_dim,), float(bias_init))) if bias else None
        self.activation = activation
        self.scale = lr_mul / math.sqrt(in_dim)
        self.lr_mul = lr_mul

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        y = input @ (self.weight * self.scale).to(input.dtype).t()
        b = None if self.bias is None else self.bias * self.lr_mul
        return bias_act(y, b, act="lrelu" if self.activation else "linear")


class ModulatedConv2d(nn.Module):
    """input [N, I, H, W], style [N, style_dim] -> [N, O, ...]; up by a transposed convolution and
    ``blur``, down by ``blur`` and a strided one. ``fused`` is accepted."""

    def __init__(
        self,
        in_channel: int,
        out_channel: int,
        kernel_size: int,
        style_dim: int,
        demodulate: bool = True,
        upsample: bool = False,
        downsample: bool = False,
        blur_kernel: Sequence[float] = (1, 3, 3, 1),
        fused: bool = True,
    ) -> None:
        super().__init__()
        self.upsample, self.downsample = upsample, downsample
        self.demodulate = demodulate
        self.padding = kernel_size // 2
        if upsample:
            p = len(blur_kernel) - 2 - (kernel_size - 1)
            self.blur = Blur(blur_kernel, ((p + 1) // 2 + 1, p // 2 + 1), upsample_factor=2)
        elif downsample:
            p = len(blur_kernel) - 2 + (kernel_size - 1)
            self.blur = Blur(blur_kernel, ((p + 1) // 2, p // 2))
        self.scale = 1 / math.sqrt(in_channel * kernel_size**2)
        self.weight = nn.Parameter(
            torch.randn(1, out_channel, in_channel, kernel_size, kernel_size)
        )
        self.modulation = EqualLinear(style_dim, in_channel, bias_init=1)

    def forward(self, input: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        # The scale counts beside demodulation's 1e-8, so it is applied there, too.
        weight = self.weight[0] * self.scale
        f = self.blur.kernel if self.upsample or self.downsample else None
        if self.upsample:
            f = f / 4  # ``modulated_conv2d`` has the gain itself
        return modulated_conv2d(
            input,
            weight,
            self.modulation(style),
            up=2 if self.upsample else 1,
            down=2 if self.downsample else 1,
            padding=self.padding,
            resample_filter=f,
            demodulate=self.demodulate,
            flip_weight=not self.upsample,  # a transposed convolution with the weight as it is
        )


class NoiseInjection(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        if noise is None:
            n, _, *space = image.shape
            noise = torch.randn(n, 1, *space, dtype=image.dtype, device=image.device)
        return image + self.weight * noise


class ConstantInput(nn.Module):
    def __init__(self, channel: int, size: int = 4) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channel, size, size))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.input.to(input.dtype).expand(input.shape[0], -1, -1, -1)


class StyledConv(nn.Module):
    def __init__(
        self,
        in_channel: int,
        out_channel: int,
        kernel_size: int,
        style_dim: int,
        upsample: bool = False,
        blur_kernel: Sequence[float] = (1, 3, 3, 1),
        demodulate: bool = True,
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(
            in_channel, out_channel, kernel_size, style_dim, demodulate, upsample,
            blur_kernel=blur_kernel,
        )  # fmt: skip
        self.noise = NoiseInjection()
        self.activate = FusedLeakyReLU(out_channel)

    def forward(
        self, input: torch.Tensor, style: torch.Tensor, noise: torch.Tensor | None = None
    ) -> torch.Tensor:
        y = self.conv(input, style)
        if noise is None:
            return self.activate(self.noise(y))
        strength = self.noise.weight.reshape(())
        return noise_bias_act(y, None, noise, strength, self.activate.bias, act="lrelu")


class ToRGB(nn.Module):
    def __init__(
        self,
        in_channel: int,
        style_dim: int,
        upsample: bool = True,
        blur_kernel: Sequence[float] = (1, 3, 3, 1),
        channels: int = 3,
    ) -> None:
        super().__init__()
        if upsample:
            self.upsample = Upsample(blur_kernel)
        self.conv = ModulatedConv2d(in_channel, channels, 1, style_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(
        self, input: torch.Tensor, style: torch.Tensor, skip: torch.Tensor | None = None
    ) -> torch.Tensor:
        y = bias_act(self.conv(input, style), self.bias.flatten())
        return y if skip is None else y + self.upsample(skip)


class ConvLayer(nn.Sequential):
    """[blur,] convolution, bias and leaky ReLU (both with ``activate``)."""

    def __init__(
        self,
        in_channel: int,
        out_channel: int,
        kernel_size: int,
        downsample: bool = False,
        blur_kernel: Sequence[float] = (1, 3, 3, 1),
        bias: bool = True,
        activate: bool = True,
    ) -> None:
        layers: list[nn.Module] = []
        if downsample:
            p = len(blur_kernel) - 2 + (kernel_size - 1)
            layers.append(Blur(blur_kernel, ((p + 1) // 2, p // 2)))
        layers.append(
            EqualConv2d(
                in_channel,
                out_channel,
                kernel_size,
                stride=2 if downsample else 1,
                padding=0 if downsample else kernel_size // 2,
                bias=bias and not activate,
            )
        )
        if activate:
            layers.append(FusedLeakyReLU(out_channel))
        super().__init__(*layers)


class ResBlock(nn.Module):
    def __init__(
        self, in_channel: int, out_channel: int, blur_kernel: Sequence[float] = (1, 3, 3, 1)
    ) -> None:
        super().__init__()
        self.conv1 = ConvLayer(in_channel, in_channel, 3)
        self.conv2 = ConvLayer(in_channel, out_channel, 3, True, blur_kernel)
        self.skip = ConvLayer(
            in_channel, out_channel, 1, True, blur_kernel, bias=False, activate=False
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return (self.conv2(self.conv1(input)) + self.skip(input)) / _SQRT2
