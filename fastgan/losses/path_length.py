# SPDX-License-Identifier: Apache-2.0
"""Path length regularisation: equal steps in latent space shall move the image equally.

    y ~ N(0, I) / √(H·W)
    J[n] = ∂ (G(ws) · y) / ∂ws[n]                          [num_ws, w_dim]
    length[n] = √( mean over num_ws of Σ over w_dim of J² )
    p[n] = (length[n] - a)²,     a ← a + decay · (mean length - a)

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), eq. 4.
"""

import math

import torch
from torch import Tensor

from fastgan import sample_rng


def path_length_penalty(
    images: Tensor,
    ws: Tensor,
    pl_mean: Tensor,
    *,
    decay: float = 0.01,
    y: Tensor | None = None,
) -> Tensor:
    """(length - a)² per sample; the running mean a, `pl_mean`, is updated in place.

    Args:
        images: [N, C, H, W], made from `ws` with a graph.
        ws: [N, num_ws, w_dim], requiring grad.
        pl_mean: the running mean a, 0-dim and on images' device; start it at 0.
        decay: how far a moves toward this batch's mean.
        y: directions [N, C, H, W]; drawn from N(0, 1) / √(H·W) where None.

    Returns:
        [N], float32 at least, differentiable in G's parameters. Add weight · mean to G's loss.

    Raises:
        ValueError: for images, ws or pl_mean of other shapes.
    """
    _check("path_length_penalty", images, ws)
    if pl_mean.dim() != 0:
        raise ValueError(
            "path_length_penalty: pl_mean must be a 0-dim tensor, got shape "
            f"{tuple(pl_mean.shape)}; start with torch.zeros([])"
        )
    lengths = path_lengths(images, ws, y=y)
    target = pl_mean.lerp(lengths.detach().mean().to(pl_mean.dtype), decay)
    pl_mean.copy_(target.detach())
    return (lengths - target.to(lengths.dtype)).square()


def path_lengths(images: Tensor, ws: Tensor, *, y: Tensor | None = None) -> Tensor:
    """The lengths alone, without a running mean.

    For a batch that is split over micro-batches or ranks: the running mean of a whole batch can't
    be known while its first part is being differentiated.

    Arguments are those of `fastgan.losses.path_length.path_length_penalty`.

    Returns:
        [N], float32 at least, differentiable in G's parameters.

    Raises:
        ValueError: for images or ws of other shapes.
    """
    _check("path_lengths", images, ws)
    if y is None:
        y = sample_rng.normal_like(images) / math.sqrt(images.shape[2] * images.shape[3])
    (J,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
    squares = J.to(torch.promote_types(J.dtype, torch.float32)).square().sum(2).mean(1)
    # √ has no derivative at 0, and 0 · ∞ is NaN: take the root of 1 there instead.
    is_zero = squares == 0
    roots = torch.where(is_zero, torch.ones_like(squares), squares).sqrt()
    return torch.where(is_zero, torch.zeros_like(squares), roots)


def _check(function: str, images: Tensor, ws: Tensor) -> None:
    if images.dim() != 4 or ws.dim() != 3 or images.shape[0] != ws.shape[0]:
        raise ValueError(
            f"{function}: images must be [N, C, H, W] and ws [N, num_ws, w_dim], got "
            f"{tuple(images.shape)} and {tuple(ws.shape)}; pass G.synthesis(ws) and its ws"
        )
