# SPDX-License-Identifier: Apache-2.0
"""Floating-point operations of single operators, by their arguments.

A multiplication and an addition count as two. Counted are

    matrix   convolutions and matrix products, as many as the textbook algorithm makes
    filter   resampling filters: `upfirdn2d`, `bias_act_filter2d`, `filtered_lrelu`,
             `anti_aliased_snake`

and nothing else: pointwise operators and reductions are bound by memory. fastgan's own operators
are registered with torch, so that `torch.utils.flop_counter.FlopCounterMode` counts them as well.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry, register_flop_formula

import fastgan.ops  # noqa: F401  defines torch.ops.fastgan

__all__ = ["POINTWISE", "Flops", "flops_of"]

_aten, _fastgan = torch.ops.aten, torch.ops.fastgan

# fastgan's operators without convolution-like work, by name.
POINTWISE = frozenset({
    "adam_ema_", "augment_matrices", "augment_pixel_index", "augment_warp_grid", "bias_act",
    "bias_act_backward", "channel_dot", "gradient_penalty", "gradient_penalty_backward",
    "minibatch_stddev", "minibatch_stddev_backward", "modulate", "modulate_backward",
    "noise_bias_act", "noise_bias_act_backward", "observe_", "sample_integers_", "sample_normal_",
    "sample_normals_", "sample_uniform_", "sample_words",
})  # fmt: skip


class Flops(NamedTuple):
    """Of one call: convolutions and matrix products, and resampling filters."""

    matrix: int = 0
    filter: int = 0


def flops_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Flops:
    """The floating-point operations of one call of an operator.

    Args:
        func: the operator, such as `torch.ops.aten.mm.default`.
        args: its positional arguments.
        kwargs: its arguments by name.
        out: its result.

    Returns:
        Both kinds; zeros for an operator that has neither.
    """
    packet = func._overloadpacket
    if packet in _FILTERS:
        return Flops(filter=_FILTERS[packet](*args, **kwargs, out_val=out))
    if packet in _OWN:
        return Flops(matrix=_OWN[packet](*args, **kwargs, out_val=out))
    if packet in flop_registry:
        return Flops(matrix=flop_registry[packet](*args, **kwargs, out_val=out))
    return Flops()


def _convolution(x, w, _b, _stride, _pad, _dilation, transposed, _out_pad, groups, out_val=None):
    """2 · (elements of the map on the side of w's rows) · (w's other sizes); any groups."""
    if x.numel() == 0 or out_val.numel() == 0:
        return 0
    # w: [K, C / groups, ...]; transposed: [C, K / groups, ...]: every x meets all of w's row
    rows = x if transposed else out_val
    return 2 * rows.numel() * math.prod(w.shape[1:])


def _convolution_backward(
    dy, x, w, _bias_sizes, _stride, _pad, _dilation, transposed, _out_pad, groups, output_mask,
    out_val=None,
):  # fmt: skip
    """As often as dx and dw are asked for, the operations of the forward pass. torch's own formula
    takes dw of a convolution in groups for one without."""
    rows = x if transposed else dy
    return 2 * rows.numel() * math.prod(w.shape[1:]) * (bool(output_mask[0]) + bool(output_mask[1]))


_OWN: dict[Any, Callable[..., int]] = {
    _aten.convolution: _convolution,
    _aten._convolution: lambda *a, **k: _convolution(*a[:9], **k),
    _aten.convolution_backward: _convolution_backward,
}
_FILTERS: dict[Any, Callable[..., int]] = {}


def _register(names: str, kind: dict[Any, Callable[..., int]]) -> Callable[..., Any]:
    packets = [getattr(_fastgan, name) for name in names.split()]

    def decorate(formula: Callable[..., int]) -> Callable[..., int]:
        register_flop_formula(packets, get_raw=True)(formula)
        kind.update(dict.fromkeys(packets, formula))
        return formula

    return decorate


@_register("winograd_conv2d", _OWN)
def _winograd(x, w, _pad_y, _pad_x, transposed, out_val=None, **_):
    return 2 * (x if transposed else out_val).numel() * math.prod(w.shape[1:])


@_register("winograd_conv2d_weight winograd_strided_conv2d_weight", _OWN)
def _winograd_weight(x, dy, *_, out_val=None, **__):
    return 2 * dy.numel() * math.prod(out_val.shape[1:])


@_register("winograd_strided_conv2d", _OWN)
def _winograd_strided(x, w, *_, out_val=None, **__):
    return 2 * out_val.numel() * math.prod(w.shape[1:])


@_register("winograd_strided_conv2d_transposed", _OWN)
def _winograd_strided_transposed(dy, w, *_, out_val=None, **__):
    return 2 * dy.numel() * math.prod(w.shape[1:])


@_register("grouped_conv2d", _OWN)
def _grouped(x, w, groups, _pad_y, _pad_x, transposed, out_val=None, **_):
    return 2 * (x if transposed else out_val).numel() * math.prod(w.shape[1:])


@_register("grouped_conv2d_weight", _OWN)
def _grouped_weight(x, dy, *_, out_val=None, **__):
    return 2 * dy.numel() * math.prod(out_val.shape[1:])


@_register("demodulation", _OWN)
def _demodulation(w, s, *_, out_val=None, **__):
    """[N, I] @ [I, O]; the squares of w are pointwise."""
    return 2 * s.shape[0] * w.shape[0] * w.shape[1]


@_register("demodulation_backward", _OWN)
def _demodulation_backward(_dd, _de, w, s, _d, _e, has_dw, has_ds, out_val=None, **__):
    """The same product for each gradient; those of w with its factors are pointwise."""
    return (bool(has_dw) + bool(has_ds)) * _demodulation(w, s)


@_register("attention", _OWN)
def _attention(q, k, v, *_, out_val=None, **__):
    """q kᵀ and P v."""
    return 2 * math.prod(q.shape[:2]) * k.shape[1] * (q.shape[2] + v.shape[2])


@_register("attention_backward", _OWN)
def _attention_backward(_do, q, k, v, *_, out_val=None, **__):
    """Three products over the channels of q (P again, dq, dk) and two over those of v."""
    return 2 * math.prod(q.shape[:2]) * k.shape[1] * (3 * q.shape[2] + 2 * v.shape[2])


@_register("attention_double_backward", _OWN)
def _attention_double_backward(_gq, _gk, _gv, _do, q, k, v, *_, out_val=None, **__):
    """P, u (two), and two for each of q's and k's gradients; five with the channels of v."""
    return 2 * math.prod(q.shape[:2]) * k.shape[1] * (7 * q.shape[2] + 5 * v.shape[2])


def _taps(f: Tensor) -> tuple[int, int]:
    """(rows, columns) of a filter; (n, n) of one row that is applied along both axes."""
    return (f.shape[0], f.shape[0]) if f.dim() == 1 else (f.shape[0], f.shape[1])


@_register("upfirdn2d", _FILTERS)
def _upfirdn2d(x, f, up_x, up_y, *_, out_val=None, **__):
    """Of the taps of an output only those count that meet a sample, not an inserted zero."""
    rows, columns = _taps(f)
    taps = rows / up_y + columns / up_x if f.dim() == 1 else rows * columns / (up_x * up_y)
    return round(2 * out_val.numel() * taps)


def _up_and_down(maps, size, middle, out, fu, fd, up):
    """Up-sampling to `middle` = (height, width), and down-sampling from it to `out`."""
    (uh, uw), (dh, dw) = _taps(fu), _taps(fd)
    if fu.dim() == 1:
        macs = size[0] * middle[1] * uw / up + middle[0] * middle[1] * uh / up
    else:
        macs = middle[0] * middle[1] * uh * uw / up**2
    if fd.dim() == 1:
        macs += middle[0] * out[1] * dw + out[0] * out[1] * dh
    else:
        macs += out[0] * out[1] * dh * dw
    return round(2 * maps * macs)


def _of_each_output(f, out):
    return 2 * out.numel() * math.prod(_taps(f))


@_register("bias_act_filter2d", _FILTERS)
def _bias_act_filter2d(_x, f, *_, out_val=None, **__):
    return _of_each_output(f, out_val[0])


@_register("bias_act_filter2d_backward", _FILTERS)
def _bias_act_filter2d_backward(_dy, _codes, f, *_, out_val=None, **__):
    return _of_each_output(f, out_val[0])


@_register("bias_act_filter2d_masked", _FILTERS)
def _bias_act_filter2d_masked(_x, _codes, f, *_, out_val=None, **__):
    return _of_each_output(f, out_val)


@_register("filtered_lrelu", _FILTERS)
def _filtered_lrelu(x, fu, fd, _b, up, down, *_, out_val=None, **__):
    out = out_val[0].shape[2:]
    middle = [n * down + taps - 1 for n, taps in zip(out, _taps(fd), strict=True)]
    return _up_and_down(math.prod(x.shape[:2]), x.shape[2:], middle, out, fu, fd, up)


@_register("filtered_lrelu_masked", _FILTERS)
def _filtered_lrelu_masked(x, _signs, fu, fd, up, down, *_, out_val=None, **__):
    return _filtered_lrelu(x, fu, fd, None, up, down, out_val=(out_val,))


@_register("anti_aliased_snake", _FILTERS)
def _snake(x, _alpha, _beta, fu, fd, up, down, out_val=None, **_):
    """Along the last axis: taps / up of fu for each of x's up-sampled elements, and fd's."""
    return round(2 * (x.numel() * fu.numel() + out_val.numel() * fd.numel()))


@_register("anti_aliased_snake_backward", _FILTERS)
def _snake_backward(dy, x, _alpha, _beta, fu, fd, *_, out_val=None, **__):
    """The forward pass's up-sampling again, and the adjoint of both filters."""
    return round(2 * (2 * x.numel() * fu.numel() + dy.numel() * fd.numel()))
