# SPDX-License-Identifier: Apache-2.0
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
    """Scale each vector of input [N, C, ...] along dimension 1 to unit second moment."""

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
    """input [N, C, H, W] -> [N, C, factor·H, factor·W], by zero-insertion and a filter.

    Args:
        kernel: taps of the filter.
        factor: of the up-sampling.
    """

    def __init__(self, kernel: Sequence[float], factor: int = 2) -> None:
        p = len(kernel) - factor
        pads = ((p + 1) // 2 + factor - 1, p // 2) * 2
        super().__init__(kernel, factor**2, factor, 1, pads)


class Downsample(_Fir):
    """input [N, C, H, W] -> [N, C, H / factor, W / factor], by a filter and decimation.

    Args:
        kernel: taps of the filter.
        factor: of the down-sampling.
    """

    def __init__(self, kernel: Sequence[float], factor: int = 2) -> None:
        p = len(kernel) - factor
        super().__init__(kernel, 1, 1, factor, ((p + 1) // 2, p // 2) * 2)


class Blur(_Fir):
    """Filter each map of input [N, C, H, W].

    Args:
        kernel: taps of the filter.
        pad: zeros (before, after) on both axes.
        upsample_factor: by which input was up-sampled; the filter's gain is its square.
    """

    def __init__(
        self, kernel: Sequence[float], pad: tuple[int, int], upsample_factor: int = 1
    ) -> None:
        super().__init__(kernel, upsample_factor**2, 1, 1, tuple(pad) * 2)


class EqualConv2d(nn.Module):
    """Convolution of input [N, C, H, W] with an equalised learning rate.

    Args:
        in_channel: channels of the input.
        out_channel: channels of the output.
        kernel_size: side of the kernel in pixels.
        stride: of the convolution.
        padding: zeros on each side.
        bias: whether there is a bias.
    """

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
    """Linear layer of input [..., in_dim] with an equalised learning rate.

    Args:
        in_dim: size of the last dimension of input.
        out_dim: size of the last dimension of the output.
        bias: whether there is a bias.
        bias_init: the bias at the start, before lr_mul.
        lr_mul: the layer's learning rate over that of the rest.
        activation: None, or "fused_lrelu": leaky ReLU 0.2 times √2.
    """

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
    """Convolution of input [N, in_channel, H, W] whose weight is scaled by style [N, style_dim].

    Up-sampling is a transposed convolution and ``blur``, down-sampling ``blur`` and a strided one.

    Args:
        in_channel: channels of the input.
        out_channel: channels of the output.
        kernel_size: side of the kernel in pixels.
        style_dim: width of the style.
        demodulate: whether each output channel is scaled back to unit variance.
        upsample: whether the output has twice the size.
        downsample: whether the output has half the size.
        blur_kernel: taps of the low-pass filter.
        fused: accepted, without effect.
    """

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
    """image [N, C, H, W] plus a learned multiple of noise [N, 1, H, W], drawn where it is None."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, image: torch.Tensor, noise: torch.Tensor | None = None) -> torch.Tensor:
        if noise is None:
            n, _, *space = image.shape
            noise = torch.randn(n, 1, *space, dtype=image.dtype, device=image.device)
        return image + self.weight * noise


class ConstantInput(nn.Module):
    """A learned map [1, channel, size, size], repeated for each row of input.

    Args:
        channel: channels of the map.
        size: side of the map.
    """

    def __init__(self, channel: int, size: int = 4) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channel, size, size))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.input.to(input.dtype).expand(input.shape[0], -1, -1, -1)


class StyledConv(nn.Module):
    """Modulated convolution of input by style, noise, bias and leaky ReLU.

    ``noise`` is [N or 1, 1, H, W], and drawn where None.

    Args:
        in_channel: channels of the input.
        out_channel: channels of the output.
        kernel_size: side of the kernel in pixels.
        style_dim: width of the style.
        upsample: whether the output has twice the size.
        blur_kernel: taps of the low-pass filter.
        demodulate: whether each output channel is scaled back to unit variance.
    """

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
    """An image from maps input and style; skip, the image of half the size, is added to it.

    Args:
        in_channel: channels of the input.
        style_dim: width of the style.
        upsample: whether skip is up-sampled.
        blur_kernel: taps of the low-pass filter.
        channels: channels of the image.
    """

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
    """[blur,] convolution, bias and leaky ReLU (both with ``activate``).

    Args:
        in_channel: channels of the input.
        out_channel: channels of the output.
        kernel_size: side of the kernel in pixels.
        downsample: whether the output has half the size, by a filter and a stride of 2.
        blur_kernel: taps of the low-pass filter.
        bias: whether there is a bias.
        activate: whether bias and leaky ReLU follow.
    """

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
    """Two convolutions of input and a 1 × 1 one beside them, to half the size.

    Args:
        in_channel: channels of the input.
        out_channel: channels of the output.
        blur_kernel: taps of the low-pass filter.
    """

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
