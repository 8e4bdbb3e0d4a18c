"""BigVGAN's anti-aliased activation, `Activation1d`, fused in training as well as in inference.

Source: Lee et al., "BigVGAN: A Universal Neural Vocoder with Large-Scale Training" (2023).
"""

import torch
from torch import nn

from fastgan.nn import AntiAliasedActivation, Snake, SnakeBeta
from fastgan.ops import anti_aliased_snake

__all__ = ["Activation1d", "Snake", "SnakeBeta"]


def _linear_scale(activation: nn.Module) -> tuple[torch.Tensor, torch.Tensor | None]:
    """(α, β or None) of anything with the parameters of their Snake or SnakeBeta."""
    alpha, beta = activation.alpha, getattr(activation, "beta", None)
    if not getattr(activation, "alpha_logscale", False):
        return alpha, beta
    return alpha.exp(), None if beta is None else beta.exp()


class Activation1d(nn.Module):
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
        super().__init__()
        if not isinstance(getattr(activation, "alpha", None), torch.Tensor):
            raise TypeError(
                "Activation1d: activation must be a Snake or SnakeBeta with a parameter alpha, got "
                f"{type(activation).__name__}; others are not fused"
            )
        filters = AntiAliasedActivation(
            Snake(activation.alpha.numel()), up_ratio, down_ratio, up_kernel_size, down_kernel_size
        )
        self.up_ratio = up_ratio
        self.down_ratio = down_ratio
        self.act = activation
        self.upsample = filters.upsample
        self.downsample = filters.downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return anti_aliased_snake(
            x,
            *_linear_scale(self.act),
            self.upsample.filter.flatten(),
            self.downsample.lowpass.filter.flatten(),
            self.up_ratio,
            self.down_ratio,
        )
