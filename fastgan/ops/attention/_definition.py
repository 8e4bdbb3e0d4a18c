# SPDX-License-Identifier: Apache-2.0
"""The definition of softmax attention in differentiable PyTorch: it keeps the whole matrix P."""

import torch

from fastgan.ops._operands import compute_dtype


def attention_ref(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """The definition of `fastgan.ops.attention`, for one batch dimension.

    Args:
        q: [B, L, D].
        k: [B, S, D].
        v: [B, S, E].
        mask: bool [M, L or 1, S or 1], True where a key counts; M divides B, and row b of the batch
            takes mask b // (B / M). None: every key counts.
        scale: what q · k is multiplied by.

    Returns:
        [B, L, E], q.dtype.
    """
    dtype = q.dtype
    q, k, v = (t.to(compute_dtype(t)) for t in (q, k, v))
    scores = scale * (q @ k.mT)  # [B, L, S]
    if mask is None:
        return (scores.softmax(-1) @ v).to(dtype)
    hidden = ~mask.repeat_interleave(q.shape[0] // max(mask.shape[0], 1), 0)
    # A finite number, so that a row without a key has no NaN, neither here nor in a gradient.
    scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    return (scores.softmax(-1).masked_fill(hidden, 0) @ v).to(dtype)
