# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2 composed of plain PyTorch ops, as its official code computes it: a baseline.

The same functions of the same parameters as `fastgan.models.stylegan2` (its state_dict loads), made
the way that eager PyTorch makes them when no custom kernel is used:

    bias and activation      add, leaky_relu, mul, clamp, one pass over memory each
    FIR resampling           zero insertion by padding, padding, one grouped 4 × 4 convolution over
                             the whole map, then a slice that drops what decimation does not keep
    up-convolution           transposed convolution of stride 2, then FIR
    down-convolution         FIR, then a convolution of stride 2
    demodulation             rsqrt of the sum over w[n, o, i, k, k]·s[n, i] squared, written out
    modulation in training   x·s, convolution, y·d + noise (no grouped convolution)
    16 bits                  the `half_sizes` largest sizes cast maps and weights to `half_dtype`

Only "skip" G and "resnet" D, square powers of two, no condition: what the bench runs. Written from
Karras et al. (2020), arXiv 1912.04958 and 2006.06676, and from the semantics of the ops.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.models.stylegan2 import Config

HALF_POWER = math.sqrt(0.5)


def bias_act(
    x: Tensor, b: Tensor | None, act: str, gain: float, clamp: float | None, dim: int = 1
) -> Tensor:
    if b is not None:
        x = x + b.reshape([-1 if i == dim else 1 for i in range(x.ndim)])
    if act == "lrelu":
        x = F.leaky_relu(x, 0.2)
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def upfirdn2d(
    x: Tensor, f: Tensor, up: int = 1, down: int = 1, padding: tuple = (0, 0), gain: float = 1.0
) -> Tensor:
    """`padding` (before, after) on both axes, in up-sampled pixels; f [taps, taps], convolved."""
    n, c, h, w = x.shape
    x = x.reshape(n, c, h, 1, w, 1)
    x = F.pad(x, [0, up - 1, 0, 0, 0, up - 1]).reshape(n, c, h * up, w * up)
    x = F.pad(x, [*padding, *padding])
    kernel = (f * gain).to(x.dtype).flip([0, 1])[None, None].repeat(c, 1, 1, 1)
    return F.conv2d(x, kernel, groups=c)[:, :, ::down, ::down]


def upsample2d(x: Tensor, f: Tensor) -> Tensor:
    taps = f.shape[0]
    return upfirdn2d(x, f, up=2, padding=((taps + 1) // 2, (taps - 2) // 2), gain=4)


def resample_conv2d(x: Tensor, w: Tensor, f: Tensor | None, up: int = 1, down: int = 1) -> Tensor:
    """'Same'-padded convolution with FIR up- or down-sampling by 2."""
    k = w.shape[-1]
    pad = k // 2
    if up == 1 and down == 1:
        return F.conv2d(x, w, padding=pad)
    taps = f.shape[0]
    if down == 2:
        padding = (pad + (taps - 1) // 2, pad + (taps - 2) // 2)
        if k == 1:
            return F.conv2d(upfirdn2d(x, f, down=2, padding=padding), w)
        return F.conv2d(upfirdn2d(x, f, padding=padding), w, stride=2)
    if k == 1:
        return upsample2d(F.conv2d(x, w), f)
    y = F.conv_transpose2d(x, w.transpose(0, 1), stride=2)
    padding = (pad + (taps + 1) // 2 - (k - 1), pad + (taps - 2) // 2 - (k - 2))
    return upfirdn2d(y, f, padding=padding, gain=4)


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    f: Tensor | None,
    noise: Tensor | None = None,
    up: int = 1,
    demodulate: bool = True,
) -> Tensor:
    n = x.shape[0]
    x_styles = styles.to(x.dtype).reshape(n, -1, 1, 1)
    y = resample_conv2d(x * x_styles, weight.to(x.dtype), f, up=up)
    if not demodulate:
        return y if noise is None else y.add_(noise.to(x.dtype))
    w = weight[None] * styles.reshape(n, 1, -1, 1, 1)  # [N, O, I, k, k]
    d = (w.square().sum([2, 3, 4]) + 1e-8).rsqrt().to(x.dtype).reshape(n, -1, 1, 1)
    return y * d if noise is None else torch.addcmul(noise.to(x.dtype), y, d)


class Linear(nn.Module):
    def __init__(self, i, o, act="linear", lr_multiplier=1.0, bias_init=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((o,), bias_init / lr_multiplier))
        self.act, self.bias_gain = act, lr_multiplier
        self.weight_gain = lr_multiplier / math.sqrt(i)

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight.to(x.dtype) * self.weight_gain
        b = self.bias.to(x.dtype)
        b = b if self.bias_gain == 1 else b * self.bias_gain
        if self.act == "linear":
            return torch.addmm(b[None], x, w.t())
        return bias_act(x.matmul(w.t()), b, self.act, math.sqrt(2), None)


class Conv(nn.Module):
    def __init__(self, config, i, o, k, down=1, bias=True, act="lrelu", gain=1.0, clamp=None):
        super().__init__()
        self.register_buffer("resample_filter", make_filter(config))
        self.weight = nn.Parameter(torch.randn(o, i, k, k))
        self.bias = nn.Parameter(torch.zeros(o)) if bias else None
        self.weight_gain = 1 / math.sqrt(i * k**2)
        self.down, self.act = down, act
        self.gain = gain * (math.sqrt(2) if act == "lrelu" else 1.0)
        self.clamp = None if clamp is None else clamp * gain

    def forward(self, x: Tensor) -> Tensor:
        w = (self.weight * self.weight_gain).to(x.dtype)
        y = resample_conv2d(x, w, self.resample_filter, down=self.down)
        b = None if self.bias is None else self.bias.to(x.dtype)
        return bias_act(y, b, self.act, self.gain, self.clamp)


class SynthesisLayer(nn.Module):
    def __init__(self, config, i, o, size, up=1):
        super().__init__()
        self.size, self.up, self.clamp = size, up, config.conv_clamp
        self.register_buffer("resample_filter", make_filter(config))
        self.affine = Linear(config.w_dim, i, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(o, i, 3, 3))
        self.register_buffer("noise_const", torch.randn(size, size))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(o))

    def forward(self, x: Tensor, w: Tensor, noise_mode: str) -> Tensor:
        noise = None
        if noise_mode == "random":
            shape = (x.shape[0], 1, self.size, self.size)
            noise = torch.randn(shape) * self.noise_strength
        elif noise_mode == "const":
            noise = self.noise_const * self.noise_strength
        f = self.resample_filter
        y = modulated_conv2d(x, self.weight, self.affine(w), f, noise, up=self.up)
        return bias_act(y, self.bias.to(x.dtype), "lrelu", math.sqrt(2), self.clamp)


class ToRGB(nn.Module):
    def __init__(self, config, i):
        super().__init__()
        self.affine = Linear(config.w_dim, i, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(config.img_channels, i, 1, 1))
        self.bias = nn.Parameter(torch.zeros(config.img_channels))
        self.weight_gain, self.clamp = 1 / math.sqrt(i), config.conv_clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        styles = self.affine(w) * self.weight_gain
        y = modulated_conv2d(x, self.weight, styles, None, demodulate=False)
        return bias_act(y, self.bias.to(x.dtype), "linear", 1.0, self.clamp)


class SynthesisBlock(nn.Module):
    def __init__(self, config, i, size, dtype, memory_format):
        super().__init__()
        o = config.channels((size, size))
        self.register_buffer("resample_filter", make_filter(config))
        self.num_convs, self.dtype, self.memory_format = (2 if i else 1), dtype, memory_format
        if i:
            self.conv0 = SynthesisLayer(config, i, o, size, up=2)
        else:
            self.const = nn.Parameter(torch.randn(o, size, size))
        self.conv1 = SynthesisLayer(config, o, o, size)
        self.torgb = ToRGB(config, o)

    def forward(self, x: Tensor | None, img: Tensor | None, ws: Tensor, noise_mode: str):
        w = iter(ws.unbind(1))
        wide = self.const.dtype if x is None else ws.dtype
        dtype = self.dtype or wide
        if x is None:
            x = self.const.to(dtype)[None].repeat(ws.shape[0], 1, 1, 1)
            x = self.conv1(x, next(w), noise_mode)
        else:
            x = x.to(dtype, memory_format=self.memory_format)
            x = self.conv0(x, next(w), noise_mode)
            x = self.conv1(x, next(w), noise_mode)
        if img is not None:
            img = upsample2d(img, self.resample_filter)
        rgb = self.torgb(x, next(w)).to(wide, memory_format=torch.contiguous_format)
        return x, rgb if img is None else img.add_(rgb)


class Synthesis(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.num_ws, channels = 1, 0
        self.blocks = [f"b{size}" for size, _ in config.sizes]
        for size, dtype, memory_format in _half_plan(config):
            block = SynthesisBlock(config, channels, size, dtype, memory_format)
            self.add_module(f"b{size}", block)
            self.num_ws += block.num_convs
            channels = config.channels((size, size))

    def forward(self, ws: Tensor, noise_mode: str = "random") -> Tensor:
        x, img, first = None, None, 0
        for name in self.blocks:
            block = self.get_submodule(name)
            used = ws.narrow(1, first, block.num_convs + 1)
            x, img = block(x, img, used, noise_mode)
            first += block.num_convs
        return img


class Mapping(nn.Module):
    def __init__(self, config, num_ws):
        super().__init__()
        self.num_ws, self.w_avg_beta = num_ws, config.w_avg_beta
        self.layers = [f"fc{i}" for i in range(config.mapping_layers)]
        width = config.z_dim
        for name in self.layers:
            layer = Linear(width, config.w_dim, "lrelu", config.mapping_lr_multiplier)
            self.add_module(name, layer)
            width = config.w_dim
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def forward(self, z: Tensor, c: None = None, update_w_avg: bool = True) -> Tensor:
        x = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for name in self.layers:
            x = self.get_submodule(name)(x)
        if self.training and update_w_avg:
            self.w_avg.copy_(x.detach().mean(dim=0).lerp(self.w_avg, self.w_avg_beta))
        return x[:, None].repeat(1, self.num_ws, 1)


class Generator(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        _check(config)
        self.z_dim, self.c_dim = config.z_dim, 0
        self.synthesis = Synthesis(config)
        self.num_ws = self.synthesis.num_ws
        self.mapping = Mapping(config, self.num_ws)

    def forward(self, z: Tensor, c: None = None, noise_mode: str = "random") -> Tensor:
        return self.synthesis(self.mapping(z), noise_mode)


class DiscriminatorBlock(nn.Module):
    def __init__(self, config, size, is_first, dtype, memory_format):
        super().__init__()
        mid, o = config.channels((size, size)), config.channels((size // 2, size // 2))
        clamp = config.conv_clamp
        self.dtype, self.memory_format = dtype, memory_format
        self.register_buffer("resample_filter", make_filter(config))
        if is_first:
            self.fromrgb = Conv(config, config.img_channels, mid, 1, clamp=clamp)
        self.conv0 = Conv(config, mid, mid, 3, clamp=clamp)
        self.conv1 = Conv(config, mid, o, 3, down=2, gain=HALF_POWER, clamp=clamp)
        self.skip = Conv(config, mid, o, 1, down=2, bias=False, act="linear", gain=HALF_POWER)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype or x.dtype, memory_format=self.memory_format)
        if hasattr(self, "fromrgb"):
            x = self.fromrgb(x)
        y = self.skip(x)
        return y.add_(self.conv1(self.conv0(x)))


class Epilogue(nn.Module):
    def __init__(self, config):
        super().__init__()
        c, extra = config.channels((4, 4)), config.mbstd_channels
        self.group, self.extra = config.mbstd_group, extra
        self.conv = Conv(config, c + extra, c, 3, clamp=config.conv_clamp)
        self.fc, self.out = Linear(c * 16, c, "lrelu"), Linear(c, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        g = n if self.group is None else min(self.group, n)
        y = x.reshape(g, n // g, self.extra, c // self.extra, h, w)
        y = y - y.mean(dim=0)
        y = (y.square().mean(dim=0) + 1e-8).sqrt().mean(dim=[2, 3, 4])
        y = y.reshape(-1, self.extra, 1, 1).repeat(g, 1, h, w)
        return self.out(self.fc(self.conv(torch.cat([x, y], dim=1)).flatten(1)))


class Discriminator(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        _check(config)
        self.blocks = []
        for size, dtype, memory_format in reversed(_half_plan(config)[1:]):
            is_first = size == config.img_height
            block = DiscriminatorBlock(config, size, is_first, dtype, memory_format)
            self.add_module(f"b{size}", block)
            self.blocks.append(f"b{size}")
        self.b4 = Epilogue(config)

    def forward(self, x: Tensor, c: None = None) -> Tensor:
        wide = x.dtype
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return self.b4(x.to(wide, memory_format=torch.contiguous_format))


def make_filter(config: Config) -> Tensor:
    f = torch.tensor(config.resample_filter, dtype=torch.float32).outer(
        torch.tensor(config.resample_filter, dtype=torch.float32)
    )
    return f / f.sum()


def _half_plan(config: Config) -> list[tuple[int, torch.dtype | None, torch.memory_format]]:
    """(size, 16-bit dtype or None, memory format) from 4 up; 16-bit maps are channels_last, which
    is what the official code's own switch for it chooses and what is faster on a CPU."""
    plan = []
    for size in config.sizes:
        dtype = config.map_dtype(size)
        memory_format = torch.contiguous_format if dtype is None else torch.channels_last
        plan.append((size[0], dtype, memory_format))
    return plan


def _check(config: Config) -> None:
    is_square = config.img_height == config.img_width
    is_power = config.img_height & (config.img_height - 1) == 0 and config.img_height >= 8
    wanted = (config.g_architecture, config.d_architecture, config.c_dim) == ("skip", "resnet", 0)
    if not (is_square and is_power and wanted and config.mbstd_channels):
        raise ValueError(
            "baselines.stylegan2: config must be an unconditional skip/resnet StyleGAN2 with "
            "mbstd_channels for a square power of two from 8 on, got "
            f"{config.img_height}×{config.img_width}, {config.g_architecture}/"
            f"{config.d_architecture}, c_dim={config.c_dim}, "
            f"mbstd_channels={config.mbstd_channels}"
        )
