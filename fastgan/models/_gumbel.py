# SPDX-License-Identifier: Apache-2.0
"""Draws of categories, with the gradient of a softmax."""

import torch
from torch import Tensor

from fastgan import sample_rng

__all__ = ["draw_one_hot"]

_LEAST = 1e-20  # of a draw of the exponential distribution, whose logarithm is taken


def draw_one_hot(logits: Tensor, *, temperature: float, noise: float = 1.0) -> Tensor:
    """One-hot of the largest of logits + noise · Gumbel; its gradient is that of the softmax.

    The straight-through Gumbel softmax, Jang et al. 2017, arXiv 1611.01144, section 2.2.

    Args:
        logits: [N, ..., K].
        temperature: the softmax is of (logits + noise · Gumbel) / temperature, > 0.
        noise: 1 (default) draws from softmax(logits), 0 takes the largest logit.

    Returns:
        [N, ..., K], logits.dtype.
    """
    u = sample_rng.uniform(*logits.shape, device=logits.device)
    gumbel = -(-torch.log1p(-u)).clamp_min(_LEAST).log()
    noisy = logits + noise * gumbel.to(logits.dtype)
    soft = (noisy / temperature).softmax(-1)
    hard = torch.zeros_like(soft).scatter(-1, noisy.argmax(-1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())
