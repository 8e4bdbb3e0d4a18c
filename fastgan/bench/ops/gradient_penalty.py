# SPDX-License-Identifier: Apache-2.0
"""gradient_penalty on image gradients (R1: target 0, WGAN-GP: target 1) and on a vector's."""

import math

import torch

from fastgan.bench.op_case import OpCase
from fastgan.ops import gradient_penalty
from fastgan.ops.gradient_penalty import gradient_penalty_ref


def cases() -> list[OpCase]:
    return [
        _case((8, 3, 64, 64), is_quick=True),
        _case((32, 3, 64, 64), target=1.0, is_quick=True),
        _case((256, 512), is_quick=True),
        _case((32, 3, 256, 256)),
        _case((32, 3, 256, 256), target=1.0),
        _case((32, 3, 256, 256), dtype=torch.bfloat16, is_channels_last=True),
    ]


def _case(shape: tuple[int, ...], target: float = 0.0, **options) -> OpCase:
    n = math.prod(shape)
    return OpCase(
        op="gradient_penalty",
        name=f"target {target:g} {'x'.join(map(str, shape))}",
        shapes=(shape,),
        run=lambda g: gradient_penalty(g, target),
        plain=lambda g: gradient_penalty_ref([g], target, False)[0],
        # Forward reads g; backward reads it again, writes dg; the pass over dg reads g and its
        # gradient, writes the second gradient of g.
        floor_elements={"forward": n, "forward+backward": 3 * n, "double": 6 * n},
        **options,
    )
