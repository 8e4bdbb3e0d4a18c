# SPDX-License-Identifier: Apache-2.0
"""Image-space corruptions (Karras et al. 2020, appendix B): additive noise and cutout."""

import torch
from torch import Tensor

from fastgan import sample_rng
from fastgan.augment.random_factors import draw_executed, draw_normal, draw_uniform


def add_noise(x: Tensor, p: Tensor) -> Tensor:
    """x [N, C, H, W] plus σ·N(0, 1) per value with probability p per image.

    σ = |N(0, 0.1²)| is drawn once per image.
    """
    n = x.shape[0]
    executed = draw_executed(n, p)
    sigma = draw_normal(executed, 0.1).abs().to(x.dtype).view(n, 1, 1, 1)
    noise = sample_rng.normal(*x.shape, device=x.device).to(x.dtype)
    return torch.where(executed.view(n, 1, 1, 1), x + sigma * noise, x)


def cut_out(x: Tensor, p: Tensor) -> Tensor:
    """x [N, C, H, W] with a rectangle of half the width and half the height set to 0, with
    probability p per image.

    The centre is uniform over the image, so that the rectangle may reach beyond the border.
    """
    n, _, height, width = x.shape
    executed = draw_executed(n, p)
    center_x = draw_uniform(executed, 0.0, 1.0, neutral=0.0).view(n, 1, 1)
    center_y = draw_uniform(executed, 0.0, 1.0, neutral=0.0).view(n, 1, 1)
    u = (torch.arange(width, device=x.device) + 0.5) / width
    v = (torch.arange(height, device=x.device)[:, None] + 0.5) / height
    is_inside = ((u - center_x).abs() < 0.25) & ((v - center_y).abs() < 0.25)  # [N, H, W]
    is_cut = (is_inside & executed.view(n, 1, 1))[:, None]
    return x.masked_fill(is_cut, 0.0)
