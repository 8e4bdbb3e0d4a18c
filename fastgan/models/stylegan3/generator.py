# SPDX-License-Identifier: Apache-2.0
"""StyleGAN3's generator: Fourier features, layers, the network of its synthesis half, the whole.

Band limits are in cycles per image of the longer side R; a map of sampling rate s has s samples
over the image and a margin around it, so that what lies outside is there when a filter needs it.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from fastgan.models._checks import check_ws
from fastgan.models._network import StyleGenerator
from fastgan.models.stylegan2.config import dtype_of_maps
from fastgan.models.stylegan3.config import Config
from fastgan.models.stylegan3.lowpass import lowpass_filter
from fastgan.nn import EqualLinear
from fastgan.nn._recompute import cast
from fastgan.nn.conv import conv_weight
from fastgan.nn.modulation import convolve_modulated
from fastgan.ops import filtered_lrelu, gradient_penalty, modulate
from fastgan.ops._convolutions.modulated_conv2d import modulation_factors

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Band:
    """Where a layer's output lies.

    Args:
        sampling_rate: samples per image.
        cutoff: of the low-pass filter, in cycles per image.
        half_width: half of the filter's transition, in cycles per image.
        channels: channels of the map.
        size: (height, width) of the map, margins included.
    """

    sampling_rate: int
    cutoff: float
    half_width: float
    channels: int
    size: Size


def bands(config: Config) -> list[Band]:
    """The bands of all layers (Karras et al. 2021, section 3.2).

    Args:
        config: the Config of the model.

    Returns:
        Those of layers 0 … num_layers, the last being the image's.
    """
    longest = max(config.img_height, config.img_width)
    n = config.num_layers
    last_cutoff = longest / 2
    last_stopband = last_cutoff * config.last_stopband_rel
    found = []
    for i in range(n + 1):
        e = min(i / (n - config.num_critical), 1.0)
        cutoff = config.first_cutoff * (last_cutoff / config.first_cutoff) ** e
        stopband = config.first_stopband * (last_stopband / config.first_stopband) ** e
        rate = 2 ** math.ceil(math.log2(min(2 * stopband, longest)))
        half_width = max(stopband, rate / 2) - cutoff
        channels = round(min(config.channel_base / 2 / cutoff, config.channel_max))
        if i == n:
            channels = config.img_channels
        margin = 0 if i >= n - 1 else 2 * config.margin_size
        sides = (config.img_height, config.img_width)
        size = tuple(math.ceil(rate * side / longest) + margin for side in sides)
        found.append(Band(rate, cutoff, half_width, channels, sides if i >= n - 1 else size))
    return found


class SynthesisInput(nn.Module):
    """w [N, w_dim] -> x [N, channels, *size]: sines over the image, turned and moved by w.

    ``freqs`` [channels, 2] are drawn in the disc of the band, ``phases`` [channels] in ±1/2 turns;
    both are buffers. ``affine`` gives (cos, sin, x, y), normalised by the first two's length; the
    buffer ``transform`` [3, 3] is the user's own, applied before. ``weight`` [channels, channels]
    mixes the sines. Source: Karras et al. 2021, section 3.1 and appendix F.
    """

    def __init__(self, w_dim: int, band: Band) -> None:
        super().__init__()
        self.size = band.size
        self.sampling_rate = band.sampling_rate
        self.bandwidth = band.cutoff
        freqs = torch.randn(band.channels, 2)
        radii = freqs.square().sum(1, keepdim=True).sqrt()
        freqs = freqs / (radii * radii.square().exp().pow(0.25)) * self.bandwidth
        self.weight = nn.Parameter(torch.randn(band.channels, band.channels))
        self.affine = EqualLinear(w_dim, 4)
        with torch.no_grad():
            self.affine.weight.zero_()
            self.affine.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", freqs)
        self.register_buffer("phases", torch.rand(band.channels) - 0.5)

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        t = self.affine(w)
        t = t / t[:, :2].norm(dim=1, keepdim=True)
        cos, sin, x, y = t.unbind(1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        rows = [[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]
        rotation = torch.stack([torch.stack(row, 1) for row in rows], 1)  # [N, 3, 3]
        rows = [[one, zero, -x], [zero, one, -y], [zero, zero, one]]
        translation = torch.stack([torch.stack(row, 1) for row in rows], 1)
        transform = rotation @ translation @ self.transform.to(w.dtype)
        freqs, phases = self.freqs.to(w.dtype), self.phases.to(w.dtype)
        phases = phases + (freqs @ transform[:, :2, 2:]).squeeze(2)  # [N, C]
        freqs = freqs @ transform[:, :2, :2]  # [N, C, 2]
        beyond = (freqs.norm(dim=2) - self.bandwidth) / (self.sampling_rate / 2 - self.bandwidth)
        amplitudes = (1 - beyond).clamp(0, 1)  # what was turned or scaled out of the band fades
        height, width = self.size
        theta = torch.zeros(1, 2, 3, dtype=w.dtype, device=w.device)
        # fill_: an assignment would make a tensor on the host, which a CUDA graph can't contain.
        theta[:, 0, 0].fill_(0.5 * width / self.sampling_rate)
        theta[:, 1, 1].fill_(0.5 * height / self.sampling_rate)
        grid = F.affine_grid(theta, [1, 1, height, width], align_corners=False)  # [1, H, W, 2]
        turns = grid @ freqs.transpose(1, 2).unsqueeze(1)  # [N, H, W, C]
        x = (2 * math.pi * (turns + phases[:, None, None])).sin() * amplitudes[:, None, None]
        weight = self.weight.to(w.dtype) / math.sqrt(self.weight.shape[0])
        return (x @ weight.t()).permute(0, 3, 1, 2)


class SynthesisLayer(nn.Module):
    """Modulated convolution and alias-free activation; x [N, I, *size_in] -> [N, O, *size_out].

    ``magnitude_ema`` [] follows the mean square of x in training and divides it out. The last
    layer, to the image, neither demodulates nor bends. Source: Karras et al. 2021, section 3.2.
    """

    def __init__(self, config: Config, i: int, before: Band, after: Band) -> None:
        super().__init__()
        self.is_torgb = i == config.num_layers
        self.is_critical = i >= config.num_layers - config.num_critical
        self.before, self.after = before, after
        rate = max(before.sampling_rate, after.sampling_rate)
        rate *= 1 if self.is_torgb else config.lrelu_upsampling
        self.up, self.down = rate // before.sampling_rate, rate // after.sampling_rate
        up_taps, down_taps = (
            config.filter_size * factor if factor > 1 and not self.is_torgb else 1
            for factor in (self.up, self.down)
        )
        k = 1 if self.is_torgb else config.conv_kernel
        self.kernel_size = k
        pads = []
        for into, out in zip(before.size[::-1], after.size[::-1], strict=True):  # x, then y
            total = (out - 1) * self.down + 1 - (into + k - 1) * self.up + up_taps + down_taps - 2
            low = (total + self.up) // 2
            pads += [low, total - low]
        self.padding = pads
        self.clamp = config.conv_clamp
        self.magnitude_beta = config.magnitude_ema_beta
        self.style_gain = 1 / math.sqrt(before.channels * k**2) if self.is_torgb else 1.0
        is_half = after.sampling_rate * 2**config.half_layers > max(
            config.img_height, config.img_width
        )
        name = config.half_dtype
        self.dtype = getattr(torch, name) if name is not None and is_half else None
        self.half_on_cpu = config.half_on_cpu
        self.affine = EqualLinear(config.w_dim, before.channels, bias_init=1.0)
        self.weight = conv_weight(after.channels, before.channels, k)
        self.bias = nn.Parameter(torch.zeros(after.channels))
        self.register_buffer("magnitude_ema", torch.ones([]))
        up_filter = lowpass_filter(up_taps, before.cutoff, 2 * before.half_width, rate)
        self.is_radial = config.use_radial_filters and not self.is_critical
        down_filter = lowpass_filter(
            down_taps, after.cutoff, 2 * after.half_width, rate, is_radial=self.is_radial
        )
        self.register_buffer("up_filter", up_filter)
        self.register_buffer("down_filter", down_filter)

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, *, is_full: bool = False, update_emas: bool = False
    ) -> torch.Tensor:
        if update_emas:
            with torch.no_grad():
                # Sums of squares in float32: one pass over x, which is not copied for it.
                mean = gradient_penalty(x.detach(), target=0.0).mean() / x[0].numel()
                mean = mean.to(self.magnitude_ema.dtype)
                self.magnitude_ema.lerp_(mean, 1 - self.magnitude_beta)
        styles = self.affine(w)  # [N, I]
        if self.is_torgb:
            styles = styles * self.style_gain
        dtype = w.dtype if is_full else dtype_of_maps(self.dtype, self.half_on_cpu, w)
        weight = self.weight if self.weight.dtype == w.dtype else self.weight.to(w.dtype)
        weight, styles, scale = modulation_factors(
            dtype,
            weight,
            styles,
            demodulate=not self.is_torgb,
            normalize=not self.is_torgb,
            input_gain=self.magnitude_ema.rsqrt(),
        )
        x = convolve_modulated(x.to(dtype), weight, styles, padding=self.kernel_size - 1)
        if scale is not None:
            x = modulate(x, scale)
        gain, slope = (1.0, 1.0) if self.is_torgb else (math.sqrt(2), 0.2)
        return filtered_lrelu(
            x, self.up_filter, self.down_filter, cast(self.bias, x.dtype).tensor, self.up,
            self.down, self.padding, gain, slope, self.clamp,
        )  # fmt: skip


class SynthesisNetwork(nn.Module):
    """ws [N, num_ws, w_dim] -> images [N, img_channels, img_height, img_width].

    ``input`` takes ws[:, 0], layer ``L{i}_{width}_{channels}`` ws[:, i + 1]. noise_mode is
    accepted, there is no noise. force_fp32: all layers in the dtype of ws. update_emas: whether
    ``magnitude_ema`` moves; None: in training mode. ``forward`` raises ValueError for ws of another
    shape.

    Args:
        config: the Config of the whole model.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.w_dim = config.w_dim
        self.num_ws = config.num_layers + 2
        self.img_channels = config.img_channels
        self.img_resolution = max(config.img_height, config.img_width)
        self.output_scale = config.output_scale
        found = bands(config)
        self.input = SynthesisInput(config.w_dim, found[0])
        self.layer_names = []
        for i, after in enumerate(found):
            layer = SynthesisLayer(config, i, found[max(i - 1, 0)], after)
            self.layer_names.append(f"L{i}_{after.size[1]}_{after.channels}")
            self.add_module(self.layer_names[-1], layer)

    def forward(
        self,
        ws: torch.Tensor,
        noise_mode: str = "none",
        *,
        force_fp32: bool = False,
        update_emas: bool | None = None,
    ) -> torch.Tensor:
        check_ws("SynthesisNetwork", ws, self.num_ws, self.w_dim)
        update_emas = self.training if update_emas is None else update_emas
        first, *others = ws.unbind(1)
        x = self.input(first)
        for name, w in zip(self.layer_names, others, strict=True):
            layer = self.get_submodule(name)
            x = layer(x, w, is_full=force_fp32, update_emas=update_emas)
        return x.to(ws.dtype) * self.output_scale


class Generator(StyleGenerator):
    """z [N, z_dim], c [N, c_dim] or None -> images [N, img_channels, img_height, img_width].

    ``synthesis.input.transform`` [3, 3], a buffer, moves and turns the image. ``noise_mode`` is
    checked and has no effect: there is no noise. ``force_fp32`` runs all layers in the dtype of ws.
    ``update_w_avg``: whether ``w_avg`` and the layers' ``magnitude_ema`` move in training mode.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.synthesis = SynthesisNetwork(config)
        self.img_channels = self.synthesis.img_channels
        self.img_resolution = self.synthesis.img_resolution
        self._add_mapping(self.synthesis.num_ws, config.w_avg_beta)

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
        self._check_inputs(z, c, noise_mode)
        ws = self.mapping(
            z,
            c,
            truncation_psi=truncation_psi,
            truncation_cutoff=truncation_cutoff,
            update_w_avg=update_w_avg,
        )
        is_moving = self.training and update_w_avg
        return self.synthesis(ws, noise_mode, force_fp32=force_fp32, update_emas=is_moving)
