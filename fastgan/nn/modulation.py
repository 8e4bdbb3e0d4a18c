# SPDX-License-Identifier: Apache-2.0
"""Style-modulated convolution with weight demodulation."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from fastgan.nn._recompute import cast, dtype_of_product, made_by, recomputing
from fastgan.nn._shapes import check_at_least_one, check_features, check_maps
from fastgan.nn.conv import check_resampling, conv_weight, resample_conv2d
from fastgan.nn.linear import EqualLinear
from fastgan.ops import (
    bias_act,
    conv2d_resample,
    demodulation,
    modulate,
    noise_bias_act,
    setup_filter,
)
from fastgan.ops._convolutions.modulated_conv2d import without_overflow


def _groups_the_batch(x: torch.Tensor) -> bool:
    """Whether one convolution in as many groups as samples may be the faster one.

    Not on a CPU: StyleGAN2's generator (24 M parameters, 64×64, batch 8, one thread of a Xeon with
    AVX-512) takes 2.8 times as long with it, forward and backward.
    """
    return x.device.type != "cpu"


def modulated_conv2d_and_scale(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    f: torch.Tensor | None = None,
    *,
    up: int = 1,
    demodulate: bool = True,
    fused: bool = False,
    size: Sequence[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Convolution with w'[n, o, i] = d[n, o] · s[n, i] · w[o, i], d = 1 without demodulation.

    Args:
        x: [N, I, H, W].
        weight: w [O, I, k, k], k odd.
        styles: s [N, I].
        f: a filter of ``setup_filter``; None where nothing is resampled.
        up: factor of up-sampling.
        demodulate: whether each output channel is scaled back to unit variance.
        fused: build w' and run one grouped convolution, but on a CPU. Otherwise x is scaled by s
            and convolved with the shared w, and d is left to the pass that adds noise and bias.
            Both give the same values up to rounding; on a CPU the latter is always faster.
        size: the up-sampled size (height, width); None: up·H, up·W.

    Returns:
        y [N, O, up·H, up·W], and the factors d [N, O] that y is still to be multiplied by, or None
        (`fastgan.ops.modulated_conv2d` multiplies itself).

    Source: Karras et al. 2020, section 2.2.
    """
    n = x.shape[0]
    if demodulate and x.dtype == torch.float16:
        weight, styles = without_overflow(weight, styles)
    d = demodulation(weight, styles) if demodulate else None  # [N, O]
    if not (fused and n and _groups_the_batch(x)):  # without a sample there is no group
        xs, w = made_by(modulate, x, styles), cast(weight, dtype_of_product(x))
        return resample_conv2d(xs.tensor, w.tensor, f, up=up, size=size, made=(xs, w)), d
    w = weight * styles.to(weight.dtype)[:, None, :, None, None]  # [N, O, I, k, k]
    if d is not None:
        w = w * d[:, :, None, None, None]
    x = x.flatten(0, 1).unsqueeze(0)  # [1, N·I, H, W]
    y = resample_conv2d(x, w.flatten(0, 1).to(x.dtype), f, up=up, groups=n, size=size)
    return y.squeeze(0).unflatten(0, (n, -1)), None  # [N, O, ...]


def convolve_modulated(
    x: torch.Tensor, weight: torch.Tensor, styles: torch.Tensor, *, padding: int
) -> torch.Tensor:
    """Convolution of modulated maps, which the backward pass makes again of x and styles.

    Args:
        x: [N, I, H, W].
        weight: [O, I, k, k], shared by the samples; cast to x.dtype.
        styles: [N, I].
        padding: of every side.

    Returns:
        [N, O, H + 2·padding - k + 1, W + 2·padding - k + 1].
    """
    xs = made_by(modulate, x, styles)
    with recomputing(xs.tensor, weight, (xs,)):
        return conv2d_resample(xs.tensor, weight, padding=padding)


class ModulatedConv2d(nn.Module):
    """Convolution whose weight is scaled per sample by a style, with bias and activation.

        y = clamp(act(modulated_conv2d(x, weight, affine(w)) + b) · gain)

    ``forward`` takes x [N, in_channels, H, W] and w [N, w_dim] and gives y
    [N, out_channels, up·H, up·W]; size=(h, w) picks any size in up·(H − 1) + 1 .. up·H. It raises
    ValueError for another x, w or size. ``affine`` turns w into styles s [N, in_channels] and
    starts at s = 1 on average; ``weight`` [out, in, k, k], from N(0, 1), is used unscaled when
    demodulated (demodulation undoes any scale) and times 1 / sqrt(in_channels · k²) otherwise.
    ``bias`` [out] starts at 0.

    Args:
        in_channels: channels of x, at least 1.
        out_channels: channels of y, at least 1.
        kernel_size: side k of the kernel, odd; padding is 'same'.
        w_dim: width of the latent w, at least 1.
        up: factor of up-sampling, at least 1.
        demodulate: whether each output channel is scaled back to unit variance.
        bias: whether there is a bias.
        activation: a name that ``fastgan.ops.bias_act`` takes.
        resample_filter: taps of the low-pass filter, kept as a buffer even where nothing is
            resampled (as in the state dicts of StyleGAN2-ADA); None leaves the buffer out.
        gain: what the result is multiplied by; None: the activation's default gain.
        clamp: bound on the absolute value of the result; None: none.
        fused: run one grouped convolution of the batch instead of scaling maps, but on a CPU,
            where that is slower; the values are the same up to rounding.

    Raises:
        ValueError: for an even kernel, or a size below 1.

    Source: Karras et al. 2020 (StyleGAN2), section 2.2, equations 1 and 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        w_dim: int,
        up: int = 1,
        demodulate: bool = True,
        bias: bool = True,
        activation: str = "linear",
        resample_filter: Sequence[float] | None = (1, 3, 3, 1),
        gain: float | None = None,
        clamp: float | None = None,
        fused: bool = False,
    ) -> None:
        super().__init__()
        check_at_least_one(
            "ModulatedConv2d", in_channels=in_channels, out_channels=out_channels, w_dim=w_dim
        )
        check_resampling("ModulatedConv2d", kernel_size, up, 1, resample_filter is not None)
        self.in_channels = in_channels
        self.w_dim = w_dim
        self.up = up
        self.demodulate = demodulate
        self.activation = activation
        self.gain = gain
        self.clamp = clamp
        self.fused = fused
        self.style_gain = 1.0 if demodulate else 1 / math.sqrt(in_channels * kernel_size**2)
        self.affine = EqualLinear(w_dim, in_channels, bias_init=1.0)
        f = None if resample_filter is None else setup_filter(resample_filter)
        self.register_buffer("resample_filter", f)
        self.weight = conv_weight(out_channels, in_channels, kernel_size)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def convolve(
        self, x: torch.Tensor, w: torch.Tensor, size: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The modulated convolution alone, without bias and activation.

        Args:
            x: [N, in_channels, H, W].
            w: [N, w_dim].
            size: the up-sampled size (h, w); None: up·H, up·W.

        Returns:
            y [N, out_channels, ...], and the factors [N, out_channels] that ``activate`` is still
            to multiply it by, or None.

        Raises:
            ValueError: for another x, w or size.
        """
        check_maps("ModulatedConv2d", x, self.in_channels)
        check_features("ModulatedConv2d", "w", w, self.w_dim)
        if w.shape[:-1] != x.shape[:1]:
            raise ValueError(
                f"ModulatedConv2d: w must have shape [{x.shape[0]}, {self.w_dim}] for x of shape "
                f"{tuple(x.shape)}, got {tuple(w.shape)}; give one latent per sample"
            )
        if size is not None and self.up == 1:
            raise ValueError(
                f"ModulatedConv2d: size must be None when up=1, got {tuple(size)}; crop the output"
            )
        styles = self.affine(w)  # [N, I]
        if not self.demodulate:
            styles = styles * self.style_gain
        return modulated_conv2d_and_scale(
            x,
            self.weight,
            styles,
            self.resample_filter,
            up=self.up,
            demodulate=self.demodulate,
            fused=self.fused,
            size=size,
        )

    def activate(
        self,
        y: torch.Tensor,
        scale: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        strength: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """clamp(act(scale · y + strength · noise + b) · gain) in one pass over a convolved y.

        Args:
            y: [N, out_channels, H, W], as ``convolve`` gives it.
            scale: [N, out_channels], as ``convolve`` gives it, or None.
            noise: [N or 1, 1, H, W] or [H, W], or None.
            strength: what the noise is multiplied by, 0-dim; None without noise.

        Returns:
            [N, out_channels, H, W], of y's dtype.
        """
        epilogue = {"act": self.activation, "gain": self.gain, "clamp": self.clamp}
        if scale is None and noise is None:
            b = None if self.bias is None else cast(self.bias, y.dtype).tensor
            return bias_act(y, b, **epilogue)
        return noise_bias_act(y, scale, noise, strength, self.bias, **epilogue)

    def forward(
        self, x: torch.Tensor, w: torch.Tensor, size: Sequence[int] | None = None
    ) -> torch.Tensor:
        return self.activate(*self.convolve(x, w, size))

    def extra_repr(self) -> str:
        out_channels, _, k, _ = self.weight.shape
        return (
            f"{self.in_channels}, {out_channels}, kernel_size={k}, w_dim={self.w_dim}, "
            f"up={self.up}, demodulate={self.demodulate}, activation={self.activation}, "
            f"fused={self.fused}"
        )
