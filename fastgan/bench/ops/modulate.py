# SPDX-License-Identifier: Apache-2.0
"""modulate and channel_dot at the sizes of StyleGAN2's synthesis layers."""

import math

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops import channel_dot, modulate
from fastgan.ops.modulate import channel_dot_ref, modulate_ref


def cases() -> list[OpCase]:
    return [
        _modulate((8, 64, 64, 64), is_quick=True),
        _modulate((8, 512, 16, 16), is_quick=True),
        _modulate((8, 64, 64, 64), dtype=torch.bfloat16, is_channels_last=True, is_quick=True),
        _channel_dot((8, 64, 64, 64), is_quick=True),
        _modulate((32, 128, 128, 128)),
        _modulate((32, 128, 128, 128), dtype=torch.bfloat16),
        _modulate((32, 128, 128, 128), dtype=torch.bfloat16, is_channels_last=True),
        _channel_dot((32, 128, 128, 128), dtype=torch.bfloat16),
        _channel_dot((32, 128, 128, 128), dtype=torch.bfloat16, is_channels_last=True),
    ]


def _modulate(shape: tuple[int, ...], **options) -> OpCase:
    n = math.prod(shape)
    # Forward reads x, writes y. Backward reads dy and x and writes dx and ds in one pass; so does
    # the second pass, which makes d_dy and d_s from ddx and dy.
    return OpCase(
        op="modulate",
        name=f"modulate {'x'.join(map(str, shape))}",
        shapes=(shape, shape[:2]),
        run=modulate,
        plain=modulate_ref,
        floor_elements={"forward": 2 * n, "forward+backward": 5 * n, "double": 7 * n},
        gpu_work={
            "forward": GpuWork(moved_elements=2 * n),
            "forward+backward": GpuWork(moved_elements=5 * n, launches=3),
            "double": GpuWork(moved_elements=7 * n, launches=4),
        },
        **options,
    )


def _channel_dot(shape: tuple[int, ...], **options) -> OpCase:
    n = math.prod(shape)
    # Forward reads x and y. Each gradient reads one of them and writes one; the second pass makes
    # d_dz from ddx and y (read both) and d_y from ddx (read, write).
    return OpCase(
        op="modulate",
        name=f"channel_dot {'x'.join(map(str, shape))}",
        shapes=(shape, shape),
        run=channel_dot,
        plain=channel_dot_ref,
        floor_elements={"forward": 2 * n, "forward+backward": 6 * n, "double": 7 * n},
        gpu_work={
            "forward": GpuWork(moved_elements=2 * n, launches=2),
            "forward+backward": GpuWork(moved_elements=6 * n, launches=4),
            "double": GpuWork(moved_elements=8 * n, launches=6),
        },
        **options,
    )
