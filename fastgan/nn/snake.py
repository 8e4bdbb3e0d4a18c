# SPDX-License-Identifier: Apache-2.0
"""Periodic activations of signals: Snake, SnakeBeta, and either of them without aliasing."""

import math

import torch
from torch import nn

from fastgan.nn._shapes import check_at_least_one
from fastgan.ops import anti_aliased_snake, kaiser_sinc_filter


class Snake(nn.Module):
    """Periodic activation y = x + sin²(α·x) / (α + 1e-9) with one α per channel.

    ``forward`` takes x [N, in_features, T] and gives y of the same shape and dtype; it raises
    ValueError for another shape. The parameter ``alpha`` [in_features] is α, or ln α with
    ``alpha_logscale``.

    Args:
        in_features: size C of dimension 1, at least 1.
        alpha: the frequency at the start; above 0 with ``alpha_logscale``.
        alpha_trainable: whether the parameters take a gradient.
        alpha_logscale: whether the parameters are logarithms.

    Raises:
        ValueError: for in_features below 1, or an alpha of 0 or less with alpha_logscale.

    Source: Ziyin et al., "Neural Networks Fail to Learn Periodic Functions and How to Fix It"
    (2020), equation 3.
    """

    def __init__(
        self,
        in_features: int,
        alpha: float = 1.0,
        alpha_trainable: bool = True,
        alpha_logscale: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_at_least_one(name, in_features=in_features)
        if alpha_logscale and not alpha > 0:
            raise ValueError(
                f"{name}: alpha must be above 0 with alpha_logscale, got {alpha!r}; it is the "
                "frequency itself, not its logarithm"
            )
        self.in_features = in_features
        self.alpha_logscale = alpha_logscale
        start = math.log(alpha) if alpha_logscale else float(alpha)
        self.alpha = nn.Parameter(torch.full((in_features,), start), requires_grad=alpha_trainable)
        self.register_buffer("_one", torch.ones(1), persistent=False)

    def linear_scale(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """α and β themselves, as ``fastgan.ops.anti_aliased_snake`` takes them.

        Returns:
            α [in_features], and β [in_features], or None where β is α.
        """
        return (self.alpha.exp() if self.alpha_logscale else self.alpha), None

    def check(self, layer: str, x: torch.Tensor) -> None:
        """Check the shape of an input.

        Args:
            layer: the name that the error gives.
            x: what should be [N, in_features, T].

        Raises:
            ValueError: for another shape.
        """
        if x.ndim != 3 or x.shape[1] != self.in_features:
            raise ValueError(
                f"{layer}: x must have shape [N, {self.in_features}, T], got {tuple(x.shape)}; "
                "move the channels to dimension 1, and flatten what follows"
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.check(type(self).__name__, x)
        # Filters of one tap, 1: what is left is the activation, which saves x alone.
        return anti_aliased_snake(x, *self.linear_scale(), self._one, self._one, 1, 1)

    def extra_repr(self) -> str:
        return f"{self.in_features}, alpha_logscale={self.alpha_logscale}"


class SnakeBeta(Snake):
    """Periodic activation y = x + sin²(α·x) / (β + 1e-9) with one α and one β per channel.

    As ``Snake``, with a second parameter ``beta`` [in_features] for the height, which starts where
    ``alpha`` does and is ln β with ``alpha_logscale``.

    Source: Lee et al., "BigVGAN: A Universal Neural Vocoder with Large-Scale Training" (2023), and
    its published models.
    """

    def __init__(
        self,
        in_features: int,
        alpha: float = 1.0,
        alpha_trainable: bool = True,
        alpha_logscale: bool = False,
    ) -> None:
        super().__init__(in_features, alpha, alpha_trainable, alpha_logscale)
        self.beta = nn.Parameter(self.alpha.detach().clone(), requires_grad=alpha_trainable)

    def linear_scale(self) -> tuple[torch.Tensor, torch.Tensor]:
        """α and β themselves, as ``fastgan.ops.anti_aliased_snake`` takes them.

        Returns:
            α and β, each [in_features].
        """
        alpha, _ = super().linear_scale()
        return alpha, (self.beta.exp() if self.alpha_logscale else self.beta)


def _resampling_filter(name: str, ratio: int, taps: int | None) -> torch.Tensor:
    """[1, 1, taps]: the low-pass before and after resampling by ``ratio``."""
    taps = int(6 * ratio // 2) * 2 if taps is None else taps
    check_at_least_one("AntiAliasedActivation", **{name: taps})
    return kaiser_sinc_filter(0.5 / ratio, 0.6 / ratio, taps).view(1, 1, taps)


class _Filter(nn.Module):
    """A buffer ``filter`` [1, 1, taps] under the name that published checkpoints give it."""

    def __init__(self, taps: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("filter", taps)


class _Downsample(nn.Module):
    def __init__(self, taps: torch.Tensor) -> None:
        super().__init__()
        self.lowpass = _Filter(taps)


class AntiAliasedActivation(nn.Module):
    """A periodic activation between up- and down-sampling, fused into one pass.

    ``forward`` takes x [N, C, T] and gives y [N, C, ceil(T · up_ratio / down_ratio)], of x's dtype;
    it raises ValueError for another shape. Both filters are Kaiser-windowed sincs with a cutoff at
    0.5 / ratio and a transition of 0.6 / ratio to each side, in the buffers ``upsample.filter`` and
    ``downsample.lowpass.filter`` [1, 1, taps]. The signal's ends are repeated.

    ``fastgan.ops.anti_aliased_snake`` is the definition; the up-sampled signal is not kept for the
    backward pass.

    Args:
        activation: a ``Snake`` or ``SnakeBeta`` of C features, kept as ``act``.
        up_ratio: factor of up-sampling, at least 1.
        down_ratio: factor of down-sampling, at least 1.
        up_kernel_size: taps of the filter after up-sampling; None: 6·up_ratio, made even.
        down_kernel_size: taps of the filter before down-sampling; None: 6·down_ratio, made even.

    Raises:
        TypeError: for another activation.
        ValueError: for a ratio or kernel size below 1.

    Source: Lee et al., "BigVGAN: A Universal Neural Vocoder with Large-Scale Training" (2023),
    section 3.2.
    """

    def __init__(
        self,
        activation: Snake,
        up_ratio: int = 2,
        down_ratio: int = 2,
        up_kernel_size: int | None = 12,
        down_kernel_size: int | None = 12,
    ) -> None:
        super().__init__()
        if not isinstance(activation, Snake):
            raise TypeError(
                "AntiAliasedActivation: activation must be a fastgan.nn.Snake or SnakeBeta, got "
                f"{type(activation).__name__}; others are not fused"
            )
        check_at_least_one("AntiAliasedActivation", up_ratio=up_ratio, down_ratio=down_ratio)
        self.up_ratio = up_ratio
        self.down_ratio = down_ratio
        self.act = activation
        self.upsample = _Filter(_resampling_filter("up_kernel_size", up_ratio, up_kernel_size))
        self.downsample = _Downsample(
            _resampling_filter("down_kernel_size", down_ratio, down_kernel_size)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return anti_aliased_snake(
            x,
            *self._linear_scale(x),
            self.upsample.filter.flatten(),
            self.downsample.lowpass.filter.flatten(),
            self.up_ratio,
            self.down_ratio,
        )

    def _linear_scale(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(α, β or None) for x, which is checked. `fastgan.compat.bigvgan` has its own."""
        self.act.check("AntiAliasedActivation", x)
        return self.act.linear_scale()

    def extra_repr(self) -> str:
        return f"up_ratio={self.up_ratio}, down_ratio={self.down_ratio}"
