# SPDX-License-Identifier: Apache-2.0
"""BigVGAN's anti-aliased activation, `Activation1d`, fused in training as well as in inference.

Source: Lee et al., "BigVGAN: A Universal Neural Vocoder with Large-Scale Training" (2023).
"""

import torch
from torch import nn

from fastgan.nn import AntiAliasedActivation, Snake, SnakeBeta

__all__ = ["Activation1d", "Snake", "SnakeBeta"]


class Activation1d(AntiAliasedActivation):
    """An activation between up- and down-sampling, in one pass: [N, C, T] -> [N, C, T_out].

    T_out = T·up_ratio / down_ratio. The buffers have BigVGAN's names: ``upsample.filter`` and
    ``downsample.lowpass.filter``.

    Args:
        activation: a Snake or SnakeBeta of BigVGAN or of fastgan; its parameters ``alpha`` and
            ``beta`` and its ``alpha_logscale`` are used.
        up_ratio: factor of the up-sampling.
        down_ratio: factor of the down-sampling.
        up_kernel_size: taps of the filter before the activation.
        down_kernel_size: taps of the filter after it.
        fused: has no effect; both settings are the same op.

    Raises:
        TypeError: activation has no parameter alpha.
    """

    def __init__(
        self,
        activation: nn.Module,
        up_ratio: int = 2,
        down_ratio: int = 2,
        up_kernel_size: int = 12,
        down_kernel_size: int = 12,
        fused: bool = True,
    ) -> None:
        if not isinstance(getattr(activation, "alpha", None), torch.Tensor):
            raise TypeError(
                "Activation1d: activation must be a Snake or SnakeBeta with a parameter alpha, got "
                f"{type(activation).__name__}; others are not fused"
            )
        placeholder = Snake(activation.alpha.numel())  # BigVGAN's is another class than ours
        super().__init__(placeholder, up_ratio, down_ratio, up_kernel_size, down_kernel_size)
        self.act = activation

    def _linear_scale(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """alpha and beta on a linear scale; the op checks x."""
        alpha, beta = self.act.alpha, getattr(self.act, "beta", None)
        if not getattr(self.act, "alpha_logscale", False):
            return alpha, beta
        return alpha.exp(), None if beta is None else beta.exp()
