"""Path length regularisation: equal steps in latent space shall move the image equally.

    y ~ N(0, I) / √(H·W)
    J[n] = ∂ (G(ws) · y) / ∂ws[n]                          [num_ws, w_dim]
    length[n] = √( mean over num_ws of Σ over w_dim of J² )
    p[n] = (length[n] - a)²,     a ← a + decay · (mean length - a)

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), eq. 4.
"""

import math

import torch

from fastgan import sample_rng


def path_length_penalty(
    images: torch.Tensor,
    ws: torch.Tensor,
    pl_mean: torch.Tensor,
    *,
    decay: float = 0.01,
    y: torch.Tensor | None = None,
) -> torch.Tensor:
    """Penalty [N]; `pl_mean` (a 0-dim tensor, the running mean a) is updated in place.

    Args:
        images: [N, C, H, W], made from `ws` with a graph.
        ws: [N, num_ws, w_dim], requiring grad.
        pl_mean: 0-dim, images' device; start it at 0.
        decay: how far a moves toward this batch's mean.
        y: [N, C, H, W] directions; drawn from N(0, 1)/√(H·W) where None.

    Returns:
        [N], differentiable in G's parameters. Add weight · mean to G's loss.
    """
    if images.dim() != 4 or ws.dim() != 3 or images.shape[0] != ws.shape[0]:
        raise ValueError(
            "path_length_penalty: images must be [N, C, H, W] and ws [N, num_ws, w_dim], got "
            f"{tuple(images.shape)} and {tuple(ws.shape)}"
        )
    if pl_mean.dim() != 0:
        raise ValueError(
            f"path_length_penalty: pl_mean must be a 0-dim tensor, got shape {tuple(pl_mean.shape)}"
        )
    lengths = path_lengths(images, ws, y=y)
    target = pl_mean.lerp(lengths.detach().mean().to(pl_mean.dtype), decay)
    pl_mean.copy_(target.detach())
    return (lengths - target.to(lengths.dtype)).square()


def path_lengths(
    images: torch.Tensor, ws: torch.Tensor, *, y: torch.Tensor | None = None
) -> torch.Tensor:
    """The lengths [N] alone, differentiable; arguments as above.

    For a batch that is split over micro-batches or ranks: the running mean of a whole batch can't
    be known while its first part is being differentiated.
    """
    if images.dim() != 4 or ws.dim() != 3 or images.shape[0] != ws.shape[0]:
        raise ValueError(
            "path_lengths: images must be [N, C, H, W] and ws [N, num_ws, w_dim], got "
            f"{tuple(images.shape)} and {tuple(ws.shape)}"
        )
    if y is None:
        y = sample_rng.normal_like(images) / math.sqrt(images.shape[2] * images.shape[3])
    (J,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
    squares = J.to(torch.promote_types(J.dtype, torch.float32)).square().sum(2).mean(1)
    # √ has no derivative at 0, and 0 · ∞ is NaN: take the root of 1 there instead.
    is_zero = squares == 0
    roots = torch.where(is_zero, torch.ones_like(squares), squares).sqrt()
    return torch.where(is_zero, torch.zeros_like(squares), roots)
