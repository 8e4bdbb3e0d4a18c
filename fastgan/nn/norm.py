# SPDX-License-Identifier: Apache-2.0
"""Normalisation to unit second moment."""

import torch
from torch import nn

PIXEL_NORM_EPS = 1e-8


def pixel_norm(x: torch.Tensor, dim: int = 1) -> torch.Tensor:
    """y = x · rsqrt(mean over ``dim`` of x² + 1e-8), the mean in float32 at least.

    Args:
        x: floating point, of any shape.
        dim: the dimension along which vectors lie.

    Returns:
        y, of x's shape and dtype.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = (wide.square().mean(dim, keepdim=True) + PIXEL_NORM_EPS).rsqrt()
    return x * scale.to(x.dtype)


class PixelNorm(nn.Module):
    """Scale each feature vector to unit second moment: y = x / sqrt(mean over C of x² + 1e-8).

    ``forward`` takes x, floating point [N, C, ...], and gives y of the same shape and dtype; the
    vectors lie along dimension 1. It raises ValueError for fewer than 2 dimensions or an integer
    dtype. There are no parameters.
    Source: Karras et al. 2018, section 4.2.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim < 2 or not torch.is_floating_point(x):
            raise ValueError(
                f"PixelNorm: x must be floating with shape [N, C, ...], got {x.dtype} of shape "
                f"{tuple(x.shape)}; convert or reshape it"
            )
        return pixel_norm(x)
