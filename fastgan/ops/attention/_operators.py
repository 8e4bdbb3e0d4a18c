# SPDX-License-Identifier: Apache-2.0
"""The three operators of attention: the pass, its gradient, and the gradient of that."""

import torch

from fastgan.ops._define import define_op
from fastgan.ops._operands import compute_dtype
from fastgan.ops.attention import _tiled
from fastgan.ops.attention._definition import attention_ref


def _dense(t: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(t, memory_format=torch.contiguous_format)


def _fake(q, k, v, mask, scale):
    return q.new_empty(*q.shape[:2], v.shape[2]), q.new_empty(q.shape[:2], dtype=compute_dtype(q))


def _setup(ctx, inputs, output):
    q, k, v, mask, ctx.scale = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(q, k, v, *output, mask)


def _backward(ctx, do, _dlse):
    if do is None:
        return (None,) * 5
    q, k, v, o, lse, mask = ctx.saved_tensors
    # o and lse are functions of q, k and v, and the next derivative counts them as such.
    found = _backward_op(do, q, k, v, o.detach(), lse.detach(), mask, ctx.scale)
    return *found, None, None


def _setup_backward(ctx, inputs, output):
    *tensors, ctx.scale = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _double_backward(ctx, gq, gk, gv):
    do, q, k, v, o, lse, mask = ctx.saved_tensors
    nothing = (None,) * 4
    if gq is None and gk is None and gv is None:
        return None, None, None, None, *nothing
    gq, gk, gv = (
        torch.zeros_like(t) if g is None else g
        for g, t in zip((gq, gk, gv), (q, k, v), strict=True)
    )
    return *_double_backward_op(gq, gk, gv, do, q, k, v, o, lse, mask, ctx.scale), *nothing


_double_backward_op = define_op(
    "attention_double_backward(Tensor gq, Tensor gk, Tensor gv, Tensor do, Tensor q, Tensor k, "
    "Tensor v, Tensor o, Tensor lse, Tensor? mask, float scale) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    reference=_tiled.double_backward,
    fake=lambda gq, gk, gv, do, q, k, v, o, lse, mask, scale: tuple(map(_dense, (do, q, k, v))),
)
_backward_op = define_op(
    "attention_backward(Tensor do, Tensor q, Tensor k, Tensor v, Tensor o, Tensor lse, "
    "Tensor? mask, float scale) -> (Tensor, Tensor, Tensor)",
    reference=_tiled.backward,
    fake=lambda do, q, k, v, o, lse, mask, scale: tuple(map(_dense, (q, k, v))),
    backward=_double_backward,
    setup_context=_setup_backward,
)
attention_op = define_op(
    "attention(Tensor q, Tensor k, Tensor v, Tensor? mask, float scale) -> (Tensor, Tensor)",
    reference=_tiled.forward,
    fake=_fake,
    backward=_backward,
    setup_context=_setup,
    definition=lambda q, k, v, mask, scale: (attention_ref(q, k, v, mask, scale), None),
)
