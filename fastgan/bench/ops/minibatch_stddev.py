# SPDX-License-Identifier: Apache-2.0
"""minibatch_stddev as StyleGAN2's discriminator calls it: groups of 4 at 4 × 4, and a large map."""

import math

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops import minibatch_stddev
from fastgan.ops.minibatch_stddev import largest_group, minibatch_stddev_ref


def cases() -> list[OpCase]:
    return [
        _case((8, 512, 4, 4), is_quick=True),
        _case((32, 512, 4, 4), is_quick=True),
        _case((32, 512, 4, 4), dtype=torch.bfloat16, is_channels_last=True, is_quick=True),
        _case((32, 512, 4, 4), dtype=torch.bfloat16),
        _case((32, 128, 64, 64)),
    ]


def gpu_cases() -> list[OpCase]:
    """Of 1024 samples: among many more groups one is so alike that its σ is all rounding."""
    return [_case((1024, 512, 4, 4)), _case((128, 128, 64, 64))]


def _case(shape: tuple[int, ...], **options) -> OpCase:
    n = math.prod(shape)
    # Forward reads x. Backward reads x (twice, once from a cache), writes dx. The second pass reads
    # ddx and x and writes d_x; plain torch makes it, in about a dozen passes over maps.
    slices = 1 if n // shape[0] <= 8192 else 2
    return OpCase(
        op="minibatch_stddev",
        name="x".join(map(str, shape)),
        shapes=(shape,),
        run=minibatch_stddev,
        plain=lambda x: minibatch_stddev_ref(x, largest_group(x.shape[0], 4), 1),
        floor_elements={"forward": n, "forward+backward": 3 * n, "double": 6 * n},
        gpu_work={
            "forward": GpuWork(moved_elements=n, launches=slices),
            "forward+backward": GpuWork(moved_elements=3 * n, launches=slices + 1),
            "double": GpuWork(moved_elements=30 * n, launches=slices + 20),
        },
        **options,
    )
