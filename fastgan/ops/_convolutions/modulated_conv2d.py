# SPDX-License-Identifier: Apache-2.0
"""modulated_conv2d: a convolution whose weights every sample scales by its own styles.

    w'[n, o, i] = w[o, i] · s[n, i]
    d[n, o] = 1 / √(Σ_i,k w'[n, o, i, k]² + 1e-8)                     1 without `demodulate`
    y[n] = conv2d_resample(x[n], w'[n] · d[n] · input_gain) + noise

    normalize (StyleGAN3, where it demodulates): first w / √mean_{i,k} w² and s / √mean_{n,i} s²

w' is never made: x is scaled by s, one convolution with the shared w follows, and its output is
scaled by d; equal up to rounding. Derivatives of any order. Capturable.
Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), section 2.2;
Karras et al., "Alias-Free Generative Adversarial Networks" (2021), appendix.
"""

from collections.abc import Sequence

import torch

from fastgan.ops._convolutions.conv2d import conv2d
from fastgan.ops._convolutions.conv2d_resample import conv2d_resample
from fastgan.ops._layout import dense_format
from fastgan.ops._operands import check_count, finite_number
from fastgan.ops._small_calls import is_small
from fastgan.ops.demodulation import demodulation, small_demodulation
from fastgan.ops.modulate import modulate
from fastgan.ops.noise_bias_act import noise_bias_act
from fastgan.ops.upfirdn2d._arguments import padding_of

__all__ = ["modulated_conv2d"]


def without_overflow(
    weight: torch.Tensor, styles: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest weight [O, I, kh, kw] and style [N, I] taken out, which demodulation makes up
    for, so that float16 maps do not overflow."""
    weight = weight / weight.abs().amax([1, 2, 3], keepdim=True) / weight[0].numel() ** 0.5
    return weight, styles / styles.abs().amax([1], keepdim=True)


def modulation_factors(
    dtype: torch.dtype,
    weight: torch.Tensor,
    styles: torch.Tensor,
    *,
    demodulate: bool,
    normalize: bool,
    input_gain: torch.Tensor | float | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """What `modulated_conv2d` multiplies maps of ``dtype`` by; its arguments.

    Returns:
        The weight [O, I, kh, kw] of the convolution, the factors [N, I] before it, and those
        [N, O] after it, or None.
    """
    if normalize:
        weight = weight * weight.square().mean((1, 2, 3), keepdim=True).rsqrt()
        styles = styles * styles.square().mean().rsqrt()
    if demodulate and dtype == torch.float16:
        weight, styles = without_overflow(weight, styles)
    d = demodulation(weight, styles) if demodulate else None  # [N, O]
    if input_gain is not None:
        styles = styles * input_gain
    return weight, styles, d


def _small(x, weight, styles, padding, demodulate):
    """A small call of a plain layer, without the calls in between; None where it is for these."""
    sizes, taps = x.shape, weight.shape
    if not (
        len(sizes) == len(taps) == 4
        and sizes[1] == taps[1]
        and styles.shape == sizes[:2]
        and weight.dtype is styles.dtype is x.dtype
        and (x.is_contiguous() or dense_format(x) == torch.channels_last)
        and styles.is_cpu
        and is_small(weight)
        and not torch.is_autocast_enabled("cpu")
    ):
        return None
    n, o = sizes[0], taps[0]
    y = conv2d(x * styles.view(n, sizes[1], 1, 1), weight, padding=padding)
    if not demodulate:
        return y
    return y * small_demodulation(weight, styles, 1e-8).view(n, o, 1, 1)


def modulated_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    styles: torch.Tensor,
    noise: torch.Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    resample_filter: torch.Tensor | None = None,
    demodulate: bool = True,
    flip_weight: bool = True,
    fused_modconv: bool = True,
    *,
    normalize: bool = False,
    input_gain: torch.Tensor | float | None = None,
) -> torch.Tensor:
    """Convolution whose weights every sample scales by its own styles.

    The formulas stand at the top of fastgan/ops/_convolutions/modulated_conv2d.py. StyleGAN2's call
    is the positional one; StyleGAN3's is ``modulated_conv2d(x, w, s, demodulate=..., padding=...,
    normalize=demodulate, input_gain=...)``. Derivatives of any order; capturable in a CUDA graph.

    Args:
        x: [N, I, H, W], float64, float32, bfloat16 or float16; any strides.
        weight: [O, I, kh, kw], any floating-point dtype.
        styles: [N, I], any floating-point dtype.
        noise: added to y: a tensor that broadcasts to [N, O, OH, OW]; None adds nothing.
        up: zero-insertion factor, as in `conv2d_resample`.
        down: decimation factor, as in `conv2d_resample`.
        padding: an int, [x, y] or [x0, x1, y0, y1], as in `conv2d_resample`.
        resample_filter: filter of `setup_filter`; None is one tap of 1.
        demodulate: scale every output map to a unit second moment.
        flip_weight: True correlates, False convolves.
        fused_modconv: accepted; both settings give the same up to rounding.
        normalize: take the scale out of weight and styles first.
        input_gain: factor of x after demodulation: a number, [], [I] or [N, I].

    Returns:
        [N, O, OH, OW], x.dtype. float16 maps are kept from overflowing by taking out the largest
        weight and style first where `demodulate` makes up for it.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: weight, styles or an argument of the resampling does not fit.
    """
    is_plain = noise is None is resample_filter is input_gain
    is_plain = is_plain and type(up) is type(down) is int and up == down == 1
    if is_plain and flip_weight and not normalize and type(padding) is int and is_small(x):
        y = _small(x, weight, styles, padding, demodulate) if padding >= 0 else None
        if y is not None:
            return y
    if x.dim() != 4 or weight.dim() != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError(
            "modulated_conv2d: weight must be [O, I, kh, kw] for x [N, I, H, W], got weight "
            f"{tuple(weight.shape)} and x {tuple(x.shape)}"
        )
    if styles.shape != x.shape[:2]:
        raise ValueError(
            f"modulated_conv2d: styles must have shape {tuple(x.shape[:2])} = x.shape[:2], got "
            f"{tuple(styles.shape)}; one style per sample and input channel"
        )
    for name, factor in (("up", up), ("down", down)):
        if type(factor) is not int:
            check_count("modulated_conv2d", name, factor)
    if type(padding) is not int:
        padding = padding_of("modulated_conv2d", padding)
    if input_gain is not None and not isinstance(input_gain, torch.Tensor):
        input_gain = finite_number("modulated_conv2d", "input_gain", input_gain)
    weight, styles, d = modulation_factors(
        x.dtype, weight, styles, demodulate=demodulate, normalize=normalize, input_gain=input_gain
    )
    y = conv2d_resample(
        modulate(x, styles), weight, resample_filter, up, down, padding, flip_weight=flip_weight
    )
    if noise is None:
        return y if d is None else modulate(y, d)
    if noise.shape in ((len(y), 1, *y.shape[2:]), (1, 1, *y.shape[2:]), y.shape[2:]):
        return noise_bias_act(y, d, noise)
    return (y if d is None else modulate(y, d)) + noise.to(y.dtype)
