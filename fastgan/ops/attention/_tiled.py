# SPDX-License-Identifier: Apache-2.0
"""Attention, its gradient and the gradient of that in plain PyTorch, one tile of P at a time.

A tile holds some rows of the batch, some of their queries and all keys, so that its probabilities
are whole rows of P: no running maximum, and nothing is computed twice within a pass. The formulas
and letters are those at the top of fastgan/ops/attention/__init__.py. Everything runs in float32
(float64 for float64); memory beyond the results is that of a few tiles.

On a CPU torch has a fused kernel of the first two passes, which gives the same o and lse: it is
used where it takes the inputs and computes in their dtype.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fastgan.ops._operands import compute_dtype

# Elements of a tile. On a CPU the three to seven tiles of a pass should stay near the core.
_TILE_ON_CPU, _TILE = 1 << 17, 1 << 24
_fused_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_fused_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class _Tile(NamedTuple):
    """Rows of the batch, their queries, and what of the mask belongs to them."""

    batch: slice
    rows: slice
    hidden: Tensor | None  # [rows of the batch or 1, queries or 1, S or 1], True: does not count


def _tiles(q: Tensor, keys: int, mask: Tensor | None) -> Iterator[tuple[slice, list[_Tile]]]:
    """Some rows of the batch, and the tiles that they are cut into."""
    batch, queries = q.shape[:2]
    size = _TILE_ON_CPU if q.device.type == "cpu" else _TILE
    together = max(1, size // max(queries * keys, 1))
    rows = max(1, min(queries, size // max(keys, 1)))
    for first in range(0, batch, together):
        part = slice(first, min(first + together, batch))
        hidden = None if mask is None else ~_masks_of(mask, part, batch)
        tiles = []
        for row in range(0, queries, rows):
            own = slice(row, min(row + rows, queries))
            is_split = hidden is not None and hidden.shape[1] > 1
            tiles.append(_Tile(part, own, hidden[:, own] if is_split else hidden))
        yield part, tiles


def _masks_of(mask: Tensor, part: slice, batch: int) -> Tensor:
    if mask.shape[0] == 1:
        return mask
    rows = torch.arange(part.start, part.stop, device=mask.device)
    return mask[rows // (batch // mask.shape[0])]


def _scores(q: Tensor, k: Tensor, hidden: Tensor | None, scale: float) -> Tensor:
    s = _product(q, k, scale)
    return s if hidden is None else s.masked_fill_(hidden, torch.finfo(s.dtype).min)


def _product(a: Tensor, b: Tensor, scale: float = 1.0) -> Tensor:
    """scale · a bᵀ"""
    out = a.new_empty(a.shape[0], a.shape[1], b.shape[1])
    return torch.baddbmm(out, a, b.mT, beta=0, alpha=scale, out=out)


def _probabilities(q, k, lse: Tensor, hidden: Tensor | None, scale: float) -> Tensor:
    p = _scores(q, k, hidden, scale).sub_(lse).exp_()
    return p if hidden is None else p.masked_fill_(hidden, 0)


def _torch_has_a_kernel(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> bool:
    """In 16 bits it would round P to them."""
    is_full = mask is None and 0 not in (*q.shape, k.shape[1])
    is_wide = q.dtype in (torch.float32, torch.float64)
    return is_full and is_wide and q.device.type == "cpu" and q.shape[2] == v.shape[2]


def forward(q, k, v, mask, scale) -> tuple[Tensor, Tensor]:
    """o [B, L, E] in q's dtype and lse [B, L], -∞ for a query without a key."""
    if _torch_has_a_kernel(q, k, v, mask):
        heads = (t.unsqueeze(1) for t in (q, k, v))
        o, lse = _fused_forward(*heads, 0.0, False, scale=scale)
        return o.squeeze(1).contiguous(), lse.squeeze(1).contiguous()
    dtype = compute_dtype(q)
    o = q.new_empty(*q.shape[:2], v.shape[2])
    lse = q.new_empty(q.shape[:2], dtype=dtype)
    if k.shape[1] == 0:
        return o.zero_(), lse.fill_(-torch.inf)
    for part, tiles in _tiles(q, k.shape[1], mask):
        keys, values = k[part].to(dtype), v[part].to(dtype)
        for _, rows, hidden in tiles:
            p = _scores(q[part, rows].to(dtype), keys, hidden, scale)
            most = p.amax(-1, keepdim=True)
            p.sub_(most).exp_()
            if hidden is not None:
                p.masked_fill_(hidden, 0)
            total = p.sum(-1, keepdim=True)
            lse[part, rows] = (most + total.log()).squeeze(-1)
            if hidden is not None:
                total.masked_fill_(total == 0, 1)  # a query without a key
            o[part, rows] = torch.bmm(p, values).div_(total)
    return o, lse


def backward(do, q, k, v, o, lse, mask, scale) -> tuple[Tensor, Tensor, Tensor]:
    """dq, dk and dv, in q's dtype."""
    if _torch_has_a_kernel(q, k, v, mask):
        heads = (t.unsqueeze(1) for t in (do, q, k, v, o, lse))
        found = _fused_backward(*heads, 0.0, False, scale=scale)
        return tuple(t.squeeze(1).contiguous() for t in found)
    dtype = lse.dtype
    dq = torch.empty_like(q, memory_format=torch.contiguous_format)
    dk = torch.zeros_like(k, dtype=dtype, memory_format=torch.contiguous_format)
    dv = torch.zeros_like(v, dtype=dtype, memory_format=torch.contiguous_format)
    if k.shape[1] == 0:
        dq.zero_()
    for part, tiles in _tiles(q, k.shape[1], mask) if k.shape[1] else ():
        keys, values = k[part].to(dtype), v[part].to(dtype)
        for _, rows, hidden in tiles:
            qr, dor = q[part, rows].to(dtype), do[part, rows].to(dtype)
            p = _probabilities(qr, keys, lse[part, rows, None], hidden, scale)
            dv[part].baddbmm_(p.mT, dor)
            delta = (dor * o[part, rows]).sum(-1, keepdim=True)
            ds = _product(dor, values).sub_(delta).mul_(p)
            dq[part, rows] = torch.bmm(ds, keys).mul_(scale)
            dk[part].baddbmm_(ds.mT, qr, alpha=scale)
    return dq, dk.to(k.dtype), dv.to(v.dtype)


def double_backward(
    gq, gk, gv, do, q, k, v, o, lse, mask, scale
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of <gq, dq> + <gk, dk> + <gv, dv> by do, q, k and v, in q's dtype."""
    dtype = lse.dtype
    d_do = torch.empty_like(do, memory_format=torch.contiguous_format)
    d_q = torch.empty_like(q, memory_format=torch.contiguous_format)
    d_k = torch.zeros_like(k, dtype=dtype, memory_format=torch.contiguous_format)
    d_v = torch.zeros_like(v, dtype=dtype, memory_format=torch.contiguous_format)
    if k.shape[1] == 0:
        return d_do.zero_(), d_q.zero_(), d_k.to(k.dtype), d_v.to(v.dtype)
    for part, tiles in _tiles(q, k.shape[1], mask):
        keys, values, gkeys, gvalues = (t[part].to(dtype) for t in (k, v, gk, gv))
        for _, rows, hidden in tiles:
            qr, gqr, dor, out = (t[part, rows].to(dtype) for t in (q, gq, do, o))
            p = _probabilities(qr, keys, lse[part, rows, None], hidden, scale)
            u = _product(gqr, keys, scale).baddbmm_(qr, gkeys.mT, alpha=scale)
            dp = _product(dor, values).sub_((dor * out).sum(-1, keepdim=True))  # dp - δ
            u.sub_((p * u).sum(-1, keepdim=True))  # u - m
            t = _product(dor, gvalues).addcmul_(u, dp)
            h = u.mul_(p)
            ds = dp.mul_(p)
            d_s = t.sub_((p * t).sum(-1, keepdim=True)).mul_(p)
            d_do[part, rows] = torch.bmm(h, values).baddbmm_(p, gvalues)
            d_q[part, rows] = torch.bmm(d_s, keys).baddbmm_(ds, gkeys).mul_(scale)
            d_k[part].baddbmm_(d_s.mT, qr, alpha=scale).baddbmm_(ds.mT, gqr, alpha=scale)
            d_v[part].baddbmm_(h.mT, dor)
    return d_do, d_q, d_k.to(k.dtype), d_v.to(v.dtype)
