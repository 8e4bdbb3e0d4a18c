# SPDX-License-Identifier: Apache-2.0
"""Rules of operators that are linear in their only tensor that depends on x and learn nothing.

The tangent takes the same call. Each is listed with a test of its arguments for whether samples
meet, that is, whether dimension 0 is touched; None stands for never.
"""

from collections.abc import Callable
from typing import Any

import torch

import fastgan.ops  # noqa: F401  (defines torch.ops.fastgan)
from fastgan.losses.linearised.tape import NotLinear, Tape, rule

aten = torch.ops.aten
Test = Callable[[tuple, dict], bool]


def _touches(position: int, default: Any = None, name: str = "dim") -> Test:
    """The dimensions at args[position] hold 0 (or are all of them)."""

    def test(args: tuple, kwargs: dict) -> bool:
        dims = kwargs.get(name, args[position] if len(args) > position else default)
        if dims is None or dims == []:
            return True
        n = max(args[0].dim(), 1)
        return any(d % n == 0 for d in (dims if isinstance(dims, list | tuple) else [dims]))

    return test


def _always(args: tuple, kwargs: dict) -> bool:
    return True


_FIXED: dict[Any, Test | None] = {
    # memory
    aten.clone.default: None,
    aten.alias.default: None,
    aten._to_copy.default: None,
    # signs
    aten.neg.default: None,
    # dimensions
    aten.permute.default: lambda a, k: not a[1] or a[1][0] % a[0].dim() != 0,
    aten.transpose.int: lambda a, k: 0 in (a[1] % max(a[0].dim(), 1), a[2] % max(a[0].dim(), 1)),
    aten.t.default: _always,
    aten.expand.default: lambda a, k: len(a[1]) != a[0].dim(),
    aten.repeat.default: lambda a, k: len(a[1]) != a[0].dim(),
    aten.unsqueeze.default: lambda a, k: a[1] in (0, -a[0].dim() - 1),
    aten.squeeze.default: None,
    aten.squeeze.dim: None,
    aten.squeeze.dims: None,
    # parts
    aten.slice.Tensor: None,  # a part of dimension 0 has fewer rows
    aten.select.int: _touches(1),
    aten.split.Tensor: _touches(2, 0),
    aten.split_with_sizes.default: _touches(2, 0),
    aten.unbind.int: _touches(1, 0),
    aten.index_select.default: _touches(1),
    aten.flip.default: _touches(1),
    aten.roll.default: _touches(2, []),
    aten.gather.default: _touches(1),  # where dimension 0 is left alone, row n comes from row n
    aten.masked_fill.Scalar: None,
    # sums
    aten.sum.default: _always,
    aten.sum.dim_IntList: _touches(1),
    aten.mean.default: _always,
    aten.mean.dim: _touches(1),
    aten.cumsum.default: _touches(1),
    # resampling and padding, map by map
    aten.constant_pad_nd.default: lambda a, k: len(a[1]) == 2 * a[0].dim(),
    aten.reflection_pad1d.default: None,
    aten.reflection_pad2d.default: None,
    aten.replication_pad1d.default: None,
    aten.replication_pad2d.default: None,
    aten.avg_pool2d.default: None,
    aten.avg_pool3d.default: None,
    aten._adaptive_avg_pool2d.default: None,
    aten.upsample_nearest1d.default: None,
    aten.upsample_nearest2d.default: None,
    aten.upsample_nearest3d.default: None,
    aten._upsample_nearest_exact2d.default: None,
    aten.upsample_linear1d.default: None,
    aten.upsample_bilinear2d.default: None,
    aten._upsample_bilinear2d_aa.default: None,
    aten.upsample_bicubic2d.default: None,
    aten._upsample_bicubic2d_aa.default: None,
    aten.grid_sampler_2d.default: None,  # at places that do not depend on x
    aten.pixel_shuffle.default: None,
    aten.pixel_unshuffle.default: None,
    torch.ops.fastgan.upfirdn2d.default: None,
}


@rule(*_FIXED)
def _fixed(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    x, *rest = args
    if tape.value(x) is None:
        raise NotLinear("takes x where it is not linear")
    if any(isinstance(a, torch.Tensor) and a.requires_grad for a in (*rest, *kwargs.values())):
        raise NotLinear("has an operand besides x that takes a gradient")
    kept = {i: tape.save(a) for i, a in enumerate(rest) if isinstance(a, torch.Tensor)}
    if func is aten.constant_pad_nd.default:
        rest = rest[:1]  # whatever x is padded with, a tangent is padded with 0
    if func is aten.masked_fill.Scalar:
        rest = [rest[0], 0.0]  # and filled with 0
    if func is aten.clone.default:
        kwargs = {k: v for k, v in kwargs.items() if k != "memory_format" or v is not None}

    def tangent(saved, t):
        return func(t, *(saved[kept[i]] if i in kept else a for i, a in enumerate(rest)), **kwargs)

    test = _FIXED[func]
    mixes = test is not None and tape.samples > 1 and test(args, kwargs)
    tape.add((x,), out, tangent, mixes=mixes)


@rule(aten.view.default, aten._unsafe_view.default, aten._reshape_alias.default)
def _view(tape: Tape, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
    shape = tuple(out.shape)
    tape.add(args[:1], out, lambda saved, t: t.reshape(shape), reshapes=True)
