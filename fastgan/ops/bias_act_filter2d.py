# SPDX-License-Identifier: Apache-2.0
"""bias_act_filter2d: a leaky ReLU and the low-pass filter after it, in one pass on a GPU.

    u = x + b                                     b runs along dimension 1
    w = clamp(gain · lrelu(u, alpha), ±clamp)     as in `bias_act`
    y = upfirdn2d(w, f, padding)                  as in `upfirdn2d`, up = down = 1

Everywhere it is what the two ops give one after the other. On a GPU w is not written to memory, nor
rounded to 16 bits, for channels_last maps of 16 or 32 bits under 4 × 4 taps with two pixels of
padding before them and at least one behind, as StyleGAN2's discriminator has them between two
convolutions; elsewhere, and where the activation is no leaky ReLU, it is those two ops.

Where a gradient is wanted two bits are kept of each w, which say whether dw/du is gain, gain·alpha
or 0: 1/16 of a map of 32 bits. With F the filter and m = dw/du, which is constant but for kinks:

    dx = m · Fᵀ(dy)      db = its sum      gradient of dy in that: F(m · ddx)

so derivatives of any order are these two, `bias_act_filter2d_backward` and `_masked`. Capturable.
No GPU has run the kernels yet.
Sources: those of `bias_act` and `upfirdn2d`.
"""

from collections.abc import Sequence

import torch

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op, gradient_is_wanted
from fastgan.ops._layout import dense_format
from fastgan.ops._operands import check_floating
from fastgan.ops.bias_act import ACTIVATIONS, activation_numbers, bias_act, bias_act_ref
from fastgan.ops.upfirdn2d import upfirdn2d
from fastgan.ops.upfirdn2d._arguments import check_map, filter_of, padding_of
from fastgan.ops.upfirdn2d._definition import upfirdn2d_ref

__all__ = ["bias_act_filter2d"]

_BEFORE = 2  # pixels of padding before the map, in both axes
_MOST_ELEMENTS = 2**31 - 1  # of a sample: kernels count them in 32 bits


def _filtered(w, f, x1, y1):
    return upfirdn2d_ref(w, f, 1, 1, 1, 1, _BEFORE, x1, _BEFORE, y1, False, 1.0)


def _channels_last(t):
    return t.contiguous(memory_format=torch.channels_last)


def _definition(x, f, b, x1, y1, alpha, gain, clamp, keeps_codes):
    return _filtered(bias_act_ref(x, b, 1, "lrelu", alpha, gain, clamp), f, x1, y1), None


def _forward(x, f, b, x1, y1, alpha, gain, clamp, keeps_codes):
    w = bias_act_ref(x, b, 1, "lrelu", alpha, gain, clamp)
    y = _channels_last(_filtered(w, f, x1, y1))
    if not keeps_codes:
        return y, x.new_empty(0, dtype=torch.uint8)
    codes = (~(w > 0)).byte()
    if clamp is not None:
        codes = codes.masked_fill(w.abs() >= torch.full_like(w, clamp), 2)
    codes = codes.permute(0, 2, 3, 1).unflatten(3, (-1, 4))  # [N, H, W, C / 4, 4]
    return y, sum(codes[..., k] << 2 * k for k in range(4)).contiguous()


def _empty(x, height, width):
    size = (x.shape[0], x.shape[1], height, width)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _padded(x, x1, y1):
    """An empty result for x [N, C, H, W]."""
    return _empty(x, x.shape[2] + y1 - 1, x.shape[3] + x1 - 1)


def _fake(x, f, b, x1, y1, alpha, gain, clamp, keeps_codes):
    n, c, h, w = x.shape
    codes = (n, h, w, c // 4) if keeps_codes else (0,)
    return _padded(x, x1, y1), x.new_empty(codes, dtype=torch.uint8)


def _setup(ctx, inputs, output):
    x, f, b, ctx.x1, ctx.y1, ctx.alpha, ctx.gain, _, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.size, ctx.has_b = x.shape[2:], b is not None
    ctx.save_for_backward(f, output[1])


def _backward(ctx, dy, _):
    if dy is None:
        return (None,) * 9
    f, codes = ctx.saved_tensors
    has_db = ctx.has_b and gradient_is_wanted(ctx, 2)
    options = (ctx.alpha, ctx.gain)
    dx, db = _backward_op(dy, codes, f, *ctx.size, *options, has_db)
    return dx, None, db if has_db else None, *(None,) * 6


def _slopes(codes, alpha, gain, like):
    """[N, C, H, W]"""
    codes = torch.stack([codes >> 2 * k & 3 for k in range(4)], -1).flatten(3)
    table = torch.tensor([gain, gain * alpha, 0.0, 0.0], dtype=like.dtype, device=like.device)
    return table[codes.long()].permute(0, 3, 1, 2)


def _backward_ref(dy, codes, f, height, width, alpha, gain, has_db):
    x1, y1 = (d - s + 1 for d, s in zip(dy.shape[:1:-1], (width, height), strict=True))
    # With up = down = 1 and 4 taps the padding of the adjoint is 3 less that of the filter.
    dw = upfirdn2d_ref(dy, f, 1, 1, 1, 1, 3 - _BEFORE, 3 - x1, 3 - _BEFORE, 3 - y1, True, 1.0)
    dx = _channels_last(dw * _slopes(codes, alpha, gain, dw))
    return dx, dx.sum((0, 2, 3)) if has_db else dx.new_empty(0)


def _backward_fake(dy, codes, f, height, width, alpha, gain, has_db):
    return _empty(dy, height, width), dy.new_empty(dy.shape[1] if has_db else 0)


def _setup_backward(ctx, inputs, output):
    dy, codes, f, height, width, ctx.alpha, ctx.gain, ctx.has_db = inputs
    ctx.set_materialize_grads(False)
    ctx.pads = dy.shape[3] - width + 1, dy.shape[2] - height + 1
    ctx.save_for_backward(codes, f)


def _double_backward(ctx, g, g_db):
    nothing = (None,) * 7
    if g_db is not None and ctx.has_db:
        own = g_db.reshape(1, -1, 1, 1)
        codes = ctx.saved_tensors[0]
        g = own.expand(codes.shape[0], -1, *codes.shape[1:3]) if g is None else g + own
    if g is None:
        return None, *nothing
    codes, f = ctx.saved_tensors
    return _masked_op(g, codes, f, *ctx.pads, ctx.alpha, ctx.gain), *nothing


def _masked_ref(x, codes, f, x1, y1, alpha, gain):
    return _channels_last(_filtered(x * _slopes(codes, alpha, gain, x), f, x1, y1))


def _setup_masked(ctx, inputs, output):
    x, codes, f, _, _, ctx.alpha, ctx.gain = inputs
    ctx.size = x.shape[2:]
    ctx.save_for_backward(codes, f)


def _masked_backward(ctx, dy):
    codes, f = ctx.saved_tensors
    return _backward_op(dy, codes, f, *ctx.size, ctx.alpha, ctx.gain, False)[0], *(None,) * 6


_masked_op = define_op(
    "bias_act_filter2d_masked(Tensor x, Tensor codes, Tensor f, SymInt x1, SymInt y1, "
    "float alpha, float gain) -> Tensor",
    reference=_masked_ref,
    fake=lambda x, codes, f, x1, y1, alpha, gain: _padded(x, x1, y1),
    backward=_masked_backward,
    setup_context=_setup_masked,
)
_backward_op = define_op(
    "bias_act_filter2d_backward(Tensor dy, Tensor codes, Tensor f, SymInt height, SymInt width, "
    "float alpha, float gain, bool has_db) -> (Tensor, Tensor)",
    reference=_backward_ref,
    fake=_backward_fake,
    backward=_double_backward,
    setup_context=_setup_backward,
)
_op = define_op(
    "bias_act_filter2d(Tensor x, Tensor f, Tensor? b, SymInt x1, SymInt y1, float alpha, "
    "float gain, float? clamp, bool keeps_codes) -> (Tensor, Tensor)",
    reference=_forward,
    fake=_fake,
    backward=_backward,
    setup_context=_setup,
    definition=_definition,
)


def is_one_pass(x, f, pads, act, alpha, gain):
    """Whether the kernels take the call, wherever x is."""
    x0, x1, y0, y1 = pads
    return (
        act == "lrelu"
        and 0 < alpha <= 1
        and gain > 0
        and f.shape == (4, 4)
        and x0 == y0 == _BEFORE
        and x1 >= 1
        and y1 >= 1
        and dense_format(x) == torch.channels_last
        and x.shape[1] % 4 == 0
        and x.numel() > 0
        and x.storage_offset() * x.element_size() % 16 == 0
        and x.shape[1] * (x.shape[2] + y1) * (x.shape[3] + x1) <= _MOST_ELEMENTS
    )


def in_one_pass(x, b, f, x1, y1, alpha, gain, clamp):
    """`bias_act_filter2d` by its own op, for what `is_one_pass` takes."""
    wants = x.requires_grad or (b is not None and b.requires_grad)
    keeps_codes = torch.is_grad_enabled() and wants
    run = _definition if reference_is_forced() else _op
    return run(x, f, b, x1, y1, alpha, gain, clamp, keeps_codes)[0]


def bias_act_filter2d(
    x: torch.Tensor,
    b: torch.Tensor | None,
    f: torch.Tensor,
    padding: int | Sequence[int] = 0,
    act: str = "linear",
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
) -> torch.Tensor:
    """bias_act, then upfirdn2d without resampling: in one pass where a kernel does it.

    When that is stands at the top of fastgan/ops/bias_act_filter2d.py. Derivatives of any order;
    capturable in a CUDA graph.

    Args:
        x: [N, C, H, W], float64, float32, bfloat16 or float16; any strides.
        b: [C], cast to x.dtype; None adds nothing.
        f: [taps] (separable) or [taps_y, taps_x] from `setup_filter`. Takes no gradient.
        padding: an int, [x, y] or [x0, x1, y0, y1]; negative crops.
        act: an activation of `bias_act`.
        alpha: slope of lrelu for u ≤ 0 (default 0.2); the other activations ignore it.
        gain: factor after the activation; None is the activation's default (√2 or 1).
        clamp: bound on |w| after the gain; None or a negative number clamps nothing.

    Returns:
        [N, C, H + y0 + y1 - taps_y + 1, W + x0 + x1 - taps_x + 1], x.dtype, channels_last where x
        is, else contiguous.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: an argument does not fit `bias_act` or `upfirdn2d`.

    Example:
        f = fastgan.ops.setup_filter([1, 3, 3, 1])
        y = fastgan.ops.bias_act_filter2d(torch.randn(1, 8, 9, 9), None, f, padding=2, act="lrelu")
    """
    check_map("bias_act_filter2d", x)
    taps, pads = filter_of("bias_act_filter2d", f, x), padding_of("bias_act_filter2d", padding)
    if b is not None and (b.shape != x.shape[1:2] or b.device != x.device):
        raise ValueError(
            f"bias_act_filter2d: b must have shape ({x.shape[1]},) on {x.device} like x's "
            f"channels, got {tuple(b.shape)} on {b.device}"
        )
    if b is not None and b.dtype != x.dtype:
        check_floating("bias_act_filter2d", "b", b)
    if act not in ACTIVATIONS:
        raise ValueError(
            f"bias_act_filter2d: act must be one of {', '.join(ACTIVATIONS)}, got {act!r}"
        )
    alpha, gain, clamp = activation_numbers("bias_act_filter2d", act, alpha, gain, clamp)
    if x.is_cuda and x.dtype != torch.float64 and is_one_pass(x, taps, pads, act, alpha, gain):
        b = None if b is None else b.to(x.dtype)
        return in_one_pass(x, b, taps, pads[1], pads[3], alpha, gain, clamp)
    return upfirdn2d(bias_act(x, b, act=act, alpha=alpha, gain=gain, clamp=clamp), f, padding=pads)
