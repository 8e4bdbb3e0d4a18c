# SPDX-License-Identifier: Apache-2.0
"""Convolution with an equalised learning rate, and its fusion with FIR resampling."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from fastgan.nn._recompute import Made, cast, dtype_of_product, recomputing, scaled
from fastgan.nn._shapes import check_at_least_one, check_maps
from fastgan.nn.resample import downsample_to_ceil, output_crop, upsample_to
from fastgan.ops import (
    bias_act,
    bias_act_filter2d,
    conv2d,
    conv_transpose2d,
    setup_filter,
    upfirdn2d,
)
from fastgan.ops._convolutions.conv2d_resample import pads_after, transposed_weight
from fastgan.ops._torch_conv import convolve
from fastgan.ops.upfirdn2d._arguments import centred_down, centred_up


def check_resampling(layer: str, kernel_size: int, up: int, down: int, has_filter: bool) -> None:
    """Check that ``resample_conv2d`` can take a geometry.

    Args:
        layer: the name that the error gives.
        kernel_size: side of the kernel.
        up: factor of up-sampling.
        down: factor of down-sampling.
        has_filter: whether there is a low-pass filter.

    Raises:
        ValueError: for an even kernel, a size below 1, up and down both above 1, or resampling
            without a filter.
    """
    check_at_least_one(layer, kernel_size=kernel_size, up=up, down=down)
    if kernel_size % 2 == 0:
        raise ValueError(
            f"{layer}: kernel_size must be odd for 'same' padding, got {kernel_size}; "
            "use torch.nn.Conv2d for even kernels"
        )
    if up > 1 and down > 1:
        raise ValueError(
            f"{layer}: up and down must not both exceed 1, got up={up}, down={down}; use two layers"
        )
    if max(up, down) > 1 and not has_filter:
        raise ValueError(
            f"{layer}: resample_filter must be given when up or down exceeds 1, got None; "
            "(1,) resamples without smoothing"
        )


def conv_weight(out_channels: int, in_channels: int, kernel_size: int) -> nn.Parameter:
    """A weight from N(0, 1), channels_last.

    Convolutions of channels_last maps want it so: neither they nor the sums of gradients copy it
    into another layout.

    Args:
        out_channels: channels of the output.
        in_channels: channels of the input, per group.
        kernel_size: side k of the kernel.

    Returns:
        A parameter [out, in, k, k].
    """
    w = torch.randn(out_channels, in_channels, kernel_size, kernel_size)
    return nn.Parameter(w.contiguous(memory_format=torch.channels_last))


def padding_before_stride(
    x: torch.Tensor, f: torch.Tensor, kernel_size: int, down: int
) -> tuple[int, int, int, int]:
    """What the filter pads before a convolution with stride ``down`` and no padding of its own.

    Args:
        x: [N, C, H, W].
        f: a filter of ``setup_filter``.
        kernel_size: side of the kernel, odd.
        down: the stride.

    Returns:
        (x0, x1, y0, y1) for ``upfirdn2d``.
    """
    pad = kernel_size // 2
    pads = (pad, pad + -x.shape[3] % down, pad, pad + -x.shape[2] % down)
    return centred_down(pads, (f.shape[0], f.shape[-1]), down, down)


def _joins(x: torch.Tensor) -> bool:
    """Whether an activation and a filter in one pass are worth it: on a CPU they are not."""
    return x.is_cuda


def _is_hooked(module: nn.Module) -> bool:
    """Whether somebody is told of the module's calls."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or _has_any_global_hook()
    )


def resample_conv2d(
    x: torch.Tensor,
    w: torch.Tensor,
    f: torch.Tensor | None = None,
    *,
    up: int = 1,
    down: int = 1,
    groups: int = 1,
    size: Sequence[int] | None = None,
    made: Sequence[Made] = (),
) -> torch.Tensor:
    """'Same'-padded convolution joined with FIR up- or downsampling, exact at the borders.

    up > 1: zero-insertion, convolution with w, FIR with gain up². Done as a full transposed
    convolution followed by the FIR, whose padding crops to the output: the maps in between are
    never truncated, so the result is the composition on an infinite zero-padded plane for any
    H × W, and ``size`` (up·(H − 1) < size <= up·H) only moves the last crop. Filtering first would
    need k×k products at every output pixel: up² times as many. A transposed convolution with w is
    a true convolution of the zero-inserted map: w is not flipped, as in StyleGAN2.
    down > 1: FIR, then correlation with stride ``down``.
    k = 1: commutes with the FIR, so it runs at the lower resolution.

    Args:
        x: [N, groups·I, H, W].
        w: [groups·O, I, k, k], k odd.
        f: a filter of ``setup_filter``; None where nothing is resampled.
        up: factor of up-sampling.
        down: factor of down-sampling.
        groups: of the convolution.
        size: the up-sampled size (height, width); None: up·H, up·W.
        made: how x and w were made; autograd does not keep what can be made again
            (``recomputing``).

    Returns:
        [N, groups·O, up·H, up·W] or [N, groups·O, ceil(H / down), ceil(W / down)].
    """
    k = w.shape[-1]
    if up > 1 and k == 1:
        with recomputing(x, w, made):
            y = convolve(x, w, groups=groups)
        return upsample_to(y, f, up, size)
    if down > 1 and k == 1:
        x = downsample_to_ceil(x, f, down)
        with recomputing(x, w, made):
            return convolve(x, w, groups=groups)
    pad, taps = k // 2, None if f is None else (f.shape[0], f.shape[-1])
    if up > 1:
        crop_y, crop_x = output_crop("resample_conv2d", x.shape[2:], up, size)
        wt = transposed_weight(w, groups)  # [groups·I, O, k, k]
        with recomputing(x, w, made):
            y = conv_transpose2d(x, wt, stride=up, groups=groups)  # [N, ·, up·(H − 1) + k, ...]
        pads = centred_up((pad, pad - crop_x, pad, pad - crop_y), taps, up, up)
        return upfirdn2d(y, f, padding=pads_after(pads, (k, k), up), gain=up**2)
    if down > 1:
        x = upfirdn2d(x, f, padding=padding_before_stride(x, f, k, down))
        with recomputing(x, w, made):
            return conv2d(x, w, stride=down, groups=groups)
    with recomputing(x, w, made):
        return conv2d(x, w, padding=pad, groups=groups)


class EqualConv2d(nn.Module):
    """Convolution with an equalised learning rate, resampling, bias and activation.

        y = clamp(act(resample_conv2d(x, w / sqrt(in_channels · k²)) + b) · gain)

    ``forward`` takes x [N, in_channels, H, W] and gives y [N, out_channels, H', W'] with H' = H,
    up·H or ceil(H / down); size=(h, w) picks any up-sampled size in up·(H − 1) + 1 .. up·H. It
    raises ValueError for another x or size. ``weight`` [out, in, k, k] starts from N(0, 1),
    ``bias`` [out] at 0.

    Args:
        in_channels: channels of x, at least 1.
        out_channels: channels of y, at least 1.
        kernel_size: side k of the kernel, odd; padding is 'same'.
        up: factor of up-sampling, at least 1.
        down: factor of down-sampling, at least 1; up and down are not both above 1.
        bias: whether there is a bias.
        activation: a name that ``fastgan.ops.bias_act`` takes.
        resample_filter: taps of the low-pass filter, kept as a buffer even where nothing is
            resampled (as in the state dicts of StyleGAN2-ADA); None leaves the buffer out.
        gain: what the result is multiplied by; None: the activation's default gain.
        clamp: bound on the absolute value of the result; None: none.

    Raises:
        ValueError: for an even kernel, up and down both above 1, or a size below 1.

    Source: Karras et al. 2018, section 4.1; Karras et al. 2020 (StyleGAN2), appendix B.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        up: int = 1,
        down: int = 1,
        bias: bool = True,
        activation: str = "linear",
        resample_filter: Sequence[float] | None = (1, 3, 3, 1),
        gain: float | None = None,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        check_at_least_one("EqualConv2d", in_channels=in_channels, out_channels=out_channels)
        check_resampling("EqualConv2d", kernel_size, up, down, resample_filter is not None)
        self.in_channels = in_channels
        self.up = up
        self.down = down
        self.activation = activation
        self.gain = gain
        self.clamp = clamp
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        f = None if resample_filter is None else setup_filter(resample_filter)
        self.register_buffer("resample_filter", f)
        self.weight = conv_weight(out_channels, in_channels, kernel_size)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: torch.Tensor, size: Sequence[int] | None = None) -> torch.Tensor:
        check_maps("EqualConv2d", x, self.in_channels)
        if size is not None and self.up == 1:
            raise ValueError(
                f"EqualConv2d: size must be None when up=1, got {tuple(size)}; crop the output"
            )
        w = self._scaled_weight(x)
        y = resample_conv2d(
            x, w.tensor, self.resample_filter, up=self.up, down=self.down, size=size, made=(w,)
        )
        return self._activated(y)

    def after(self, first: "EqualConv2d", x: torch.Tensor) -> torch.Tensor:
        """self(first(x)); on a GPU without the map between first's activation and our filter.

        Where the map is wanted after all, by a hook of a module, both are called.

        Args:
            first: a layer without resampling, with as many output channels as we take.
            x: [N, first.in_channels, H, W].

        Returns:
            What self(first(x)) is.
        """
        k = self.weight.shape[-1]
        is_joined = _joins(x) and first.activation == "lrelu" and self.down > 1 and k > 1
        if not is_joined or max(first.up, first.down) > 1 or _is_hooked(first) or _is_hooked(self):
            return self(first(x))
        check_maps("EqualConv2d", x, first.in_channels)
        w = first._scaled_weight(x)
        y = resample_conv2d(x, w.tensor, made=(w,))
        y = bias_act_filter2d(
            y,
            None if first.bias is None else cast(first.bias, y.dtype).tensor,
            self.resample_filter,
            padding_before_stride(y, self.resample_filter, k, self.down),
            act=first.activation,
            gain=first.gain,
            clamp=first.clamp,
        )
        w = self._scaled_weight(y)
        with recomputing(y, w.tensor, (w,)):
            y = conv2d(y, w.tensor, stride=self.down)
        return self._activated(y)

    def _is_linear(self) -> bool:
        """Without bias or clamp: the gain goes with the weight and costs y no pass."""
        return self.activation == "linear" and self.bias is None and self.clamp is None

    def _scaled_weight(self, x: torch.Tensor) -> Made:
        gain = self.gain if self._is_linear() and self.gain is not None else 1.0
        return scaled(self.weight, self.weight_gain * gain, dtype_of_product(x))

    def _activated(self, y: torch.Tensor) -> torch.Tensor:
        if self._is_linear():
            return y
        b = None if self.bias is None else cast(self.bias, y.dtype).tensor
        return bias_act(y, b, act=self.activation, gain=self.gain, clamp=self.clamp)

    def extra_repr(self) -> str:
        out_channels, _, k, _ = self.weight.shape
        return (
            f"{self.in_channels}, {out_channels}, kernel_size={k}, up={self.up}, "
            f"down={self.down}, bias={self.bias is not None}, activation={self.activation}"
        )
