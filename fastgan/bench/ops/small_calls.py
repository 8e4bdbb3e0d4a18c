# SPDX-License-Identifier: Apache-2.0
"""Calls so small that calling takes longer than computing, against plain torch as people write it.

The two of them that are no small calls have 1 MB, the size up to which F.leaky_relu(x + b) was once
faster than `bias_act`.
"""

import math

import torch
import torch.nn.functional as F

from fastgan.bench.op_case import Function, OpCase
from fastgan.nn import EqualLinear
from fastgan.ops import bias_act, conv2d, minibatch_stddev, modulated_conv2d

_SQRT2 = math.sqrt(2)


def cases() -> list[OpCase]:
    maps = (4, 16, 8, 8)
    return [
        _equal_linear(8, 64),
        _leaky("F.leaky_relu(x + b)", 1.0, (8, 64), is_quick=True),
        _leaky("F.leaky_relu(x + b) · √2", _SQRT2, (8, 64)),
        _leaky("F.leaky_relu(x + b)", 1.0, maps),
        _leaky("F.leaky_relu(x + b)", 1.0, (4, 64, 16, 16)),
        _leaky("F.leaky_relu(x + b)", 1.0, (4, 64, 32, 32)),
        _case("conv2d 3x3", (maps, (16, 16, 3, 3)), lambda x, w: conv2d(x, w, padding=1),
              lambda x, w: F.conv2d(x, w, padding=1)),
        _case("conv2d 4x4 stride 2", (maps, (16, 16, 4, 4)),
              lambda x, w: conv2d(x, w, stride=2, padding=1),
              lambda x, w: F.conv2d(x, w, stride=2, padding=1)),
        _case("conv2d 1x1", (maps, (16, 16, 1, 1)), conv2d, F.conv2d),
        _case("modulated_conv2d 3x3", (maps, (16, 16, 3, 3), maps[:2]),
              lambda x, w, s: modulated_conv2d(x, w, s, padding=1), _modulated),
        _case("minibatch_stddev", ((8, 64, 4, 4),), minibatch_stddev, _stddev, is_quick=True),
    ]  # fmt: skip


def _equal_linear(n: int, width: int) -> OpCase:
    layer = EqualLinear(width, width, activation="lrelu")
    found, gain = layer._parameters, layer.weight_gain

    def run(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        found["weight"], found["bias"] = w, b
        return layer(x)

    def plain(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(F.linear(x, w * gain, b), 0.2) * _SQRT2

    return _case("EqualLinear lrelu", ((n, width), (width, width), (width,)), run, plain)


def _leaky(name: str, gain: float, shape: tuple[int, ...], **options) -> OpCase:
    after = (1,) * (len(shape) - 2)

    def plain(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        y = F.leaky_relu(x + (b.view(-1, *after) if after else b), 0.2)
        return y if gain == 1 else y * gain

    return _case(name, (shape, shape[1:2]), lambda x, b: bias_act(x, b, act="lrelu", gain=gain),
                 plain, **options)  # fmt: skip


def _modulated(x: torch.Tensor, w: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """Weights of each sample, and one convolution in groups."""
    n, c, *size = x.shape
    each = w[None] * s[:, None, :, None, None]
    d = (each.square().sum([2, 3, 4]) + 1e-8).rsqrt()
    each = (each * d[:, :, None, None, None]).reshape(-1, *w.shape[1:])
    return F.conv2d(x.reshape(1, n * c, *size), each, padding=1, groups=n).reshape(n, -1, *size)


def _stddev(x: torch.Tensor) -> torch.Tensor:
    y = x.reshape(4, -1, 1, *x.shape[1:])
    y = y - y.mean(0)
    y = (y.square().mean(0) + 1e-8).sqrt().mean([2, 3, 4])
    return y.repeat(4, 1)


def _case(
    name: str, shapes: tuple[tuple[int, ...], ...], run: Function, plain: Function, **options
) -> OpCase:
    moved = 2 * math.prod(shapes[0])  # reads x, writes as much: of these calls it says little
    return OpCase(
        op="small_calls",
        name=f"{name} {'x'.join(map(str, shapes[0]))}",
        shapes=shapes,
        run=run,
        plain=plain,
        floor_elements={"forward": moved, "forward+backward": 2 * moved, "double": 3 * moved},
        is_as_written=True,
        **options,
    )
