# SPDX-License-Identifier: Apache-2.0
"""attention: softmax attention that differentiates twice and keeps no matrix of queries by keys.

    s[i, j] = scale · q[i] · k[j]
    p[i, j] = e^s[i, j] / Σ_j e^s[i, j]          over the keys j that count for query i
    o[i]    = Σ_j p[i, j] v[j]                   0 where no key counts

Kept for derivatives are o and lse[i] = ln Σ_j e^s[i, j], next to q, k and v; p is computed again,
tile by tile, from s and lse. Gradient, for the gradient do of o:

    dp = do vᵀ         δ[i] = do[i] · o[i]       ds = p ∘ (dp - δ)
    dq = scale · ds k  dk = scale · dsᵀ q        dv = pᵀ do

Second derivative, for the gradients gq, gk, gv of dq, dk, dv (means of a row are weighted by p):

    u = scale · (gq kᵀ + q gkᵀ)    m[i] = Σ_j p u        h = p ∘ (u - m)
    w = do gvᵀ      t = (u - m) ∘ (dp - δ) + w           d_s = p ∘ (t - Σ_j p t)
    gradient of do:  h v + p gv            gradient of q:  scale · (d_s k + ds gk)
    gradient of v:   hᵀ do                 gradient of k:  scale · (d_sᵀ q + dsᵀ gq)

and Σ_j p t = do · (gradient of do). Memory beyond inputs and results is that of some tiles, in each
order. Sums and products run in float32 (float64 for float64), results are rounded to q.dtype.

Derivatives: two orders, as gradient penalties need; a third one is refused in words. Capturable.
torch's own fused kernels (F.scaled_dot_product_attention) have one order: pytorch#116350.
On a CPU the first two passes are torch's fused kernel where it takes the inputs, and the tiles are
batched matrix products of torch. On CUDA each pass has kernels of its own, which no GPU has run
yet: they add in one order, whatever the number of blocks, and no two blocks add to one element.
Sources: Vaswani et al., "Attention Is All You Need" (2017), eq. 1; the first two passes by tiles:
Milakov & Gimelshein, "Online normalizer calculation for softmax" (2018); Rabe & Staats,
"Self-attention Does Not Need O(n²) Memory" (2021); Dao et al., "FlashAttention" (2022), appendix B.
The second derivative is worked out here.
"""

import math

import torch

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._operands import check_device, check_floating, finite_number
from fastgan.ops.attention._definition import attention_ref
from fastgan.ops.attention._operators import attention_op

__all__ = ["attention"]


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> torch.Tensor:
    """softmax(scale · q kᵀ) v, exact to the second derivative, without a matrix of L by S.

    In place of `torch.nn.functional.scaled_dot_product_attention` where a gradient penalty (R1, R2,
    WGAN-GP) differentiates a discriminator twice. The formulas stand at the top of
    fastgan/ops/attention/__init__.py. Capturable in a CUDA graph.

    Args:
        q: queries, [..., L, D]; float64, float32, bfloat16 or float16; any strides.
        k: keys, [..., S, D], q.dtype.
        v: values, [..., S, E], q.dtype. The leading dimensions of q, k and v broadcast; what is
            broadcast is copied.
        mask: bool, broadcasts to [..., L, S]; False hides a key from a query. [N, 1, 1, S] hides
            padding. A query without any key gets 0. None: every key counts.
        scale: factor of q · k; None is 1/√D.

    Returns:
        [..., L, E], q.dtype, contiguous.

    Raises:
        TypeError: q, k or v has no floating-point dtype or not q's, or mask is not bool.
        ValueError: a shape or a device does not fit.

    Source: Vaswani et al., "Attention Is All You Need" (2017), equation 1.

    Example:
        q, k, v = torch.randn(3, 2, 8, 256, 32).unbind()
        o = fastgan.ops.attention(q, k, v)
    """
    for name, t in (("q", q), ("k", k), ("v", v)):
        check_floating("attention", name, t)
        if t.dtype != q.dtype:
            raise TypeError(f"attention: {name} must be {q.dtype} like q, got {t.dtype}; cast it")
        if t.dim() < 2:
            raise ValueError(
                f"attention: {name} must be [..., rows, channels], got shape {tuple(t.shape)}"
            )
        check_device("attention", name, t, q, "q")
    if k.shape[-1] != q.shape[-1]:
        raise ValueError(
            f"attention: k must have {q.shape[-1]} channels like q, got shape {tuple(k.shape)} "
            f"beside {tuple(q.shape)}"
        )
    if v.shape[-2] != k.shape[-2]:
        raise ValueError(
            f"attention: v must have one row for each of k's {k.shape[-2]}, got shape "
            f"{tuple(v.shape)} beside {tuple(k.shape)}"
        )
    try:
        batch = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    except RuntimeError:
        raise ValueError(
            "attention: the leading dimensions of q, k and v must broadcast, got shapes "
            f"{tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        ) from None
    if mask is not None:
        mask = _flat_mask(mask, q, k, batch)
    if scale is None:
        scale = 1 / math.sqrt(max(q.shape[-1], 1))
    scale = finite_number("attention", "scale", scale)
    flat = (_flat(t, batch) for t in (q, k, v))
    if reference_is_forced():
        o = attention_ref(*flat, mask, scale)
    else:
        o = attention_op(*flat, mask, scale)[0]
    return o.reshape(*batch, q.shape[-2], v.shape[-1])


def _flat(t: torch.Tensor, batch: torch.Size) -> torch.Tensor:
    """[..., rows, channels] as [B, rows, channels], contiguous."""
    rows = t.shape[-2:]
    if t.shape[:-2] != batch:
        t = t.expand(*batch, *rows)
    return t.reshape(math.prod(batch), *rows).contiguous()


def _flat_mask(
    mask: torch.Tensor, q: torch.Tensor, k: torch.Tensor, batch: torch.Size
) -> torch.Tensor:
    """[M, L or 1, S or 1], each mask for B / M adjacent rows of the batch."""
    full = (*batch, q.shape[-2], k.shape[-2])
    if mask.dtype != torch.bool:
        raise TypeError(
            f"attention: mask must be bool, True where a key counts, got {mask.dtype}; a sum of "
            "scores and a tensor is not supported"
        )
    check_device("attention", "mask", mask, q, "q")
    fits = mask.dim() <= len(full) and all(
        a in (1, b) for a, b in zip(reversed(mask.shape), reversed(full), strict=False)
    )
    if not fits:
        raise ValueError(
            f"attention: mask must broadcast to {full}, got shape {tuple(mask.shape)}; for one "
            "mask per sample, in front of heads and queries, pass mask[:, None, None, :]"
        )
    shape = (1,) * (len(full) - mask.dim()) + tuple(mask.shape)
    own = len(batch)
    while own and shape[own - 1] == 1:
        own -= 1
    mask = mask.reshape(shape).expand(*batch[:own], *shape[own:])
    return mask.reshape(math.prod(batch[:own]), *shape[-2:]).contiguous()
