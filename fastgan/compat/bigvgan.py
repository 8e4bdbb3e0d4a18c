"""BigVGAN's anti-aliased activation, `Activation1d`, fused in training as well as in inference.

Source: Lee et al., "BigVGAN: A Universal Neural Vocoder with Large-Scale Training" (2023).
"""

import torch
from torch import nn

from fastgan.nn import AntiAliasedActivation, Snake, SnakeBeta

__all__ = ["Activation1d", "Snake", "SnakeBeta"]


class Activation1d(AntiAliasedActivation):
    """`activation` between ×up_ratio up- and ×down_ratio down-sampling, in one pass.

    `activation`: a Snake or SnakeBeta of theirs or ours, by its parameters ``alpha``, ``beta`` and
    its ``alpha_logscale``. x [N, C, T] -> [N, C, T·up_ratio / down_ratio]. `fused` is accepted:
    both settings are one op. Buffers as theirs: ``upsample.filter``, ``downsample.lowpass.filter``.
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
        stand_in = Snake(activation.alpha.numel())  # theirs is no Snake of ours
        super().__init__(stand_in, up_ratio, down_ratio, up_kernel_size, down_kernel_size)
        self.act = activation

    def _linear_scale(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Of anything with the parameters of their Snake or SnakeBeta; the op checks x."""
        alpha, beta = self.act.alpha, getattr(self.act, "beta", None)
        if not getattr(self.act, "alpha_logscale", False):
            return alpha, beta
        return alpha.exp(), None if beta is None else beta.exp()
