# SPDX-License-Identifier: Apache-2.0
"""noise_bias_act as StyleGAN2 calls it: demodulation, noise, bias, leaky ReLU, clamp 256."""

import math

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops import noise_bias_act
from fastgan.ops.noise_bias_act import noise_bias_act_ref

_GAIN, _CLAMP, _ALPHA = math.sqrt(2), 256.0, 0.2
_GRID = 2.0**-6  # x·scale + noise·strength + b is exact in float32, so its sign is everyone's


def cases() -> list[OpCase]:
    return [
        _case((8, 64, 64, 64), is_quick=True),
        _case((8, 512, 16, 16), is_quick=True),
        _case((8, 64, 64, 64), dtype=torch.bfloat16, is_channels_last=True, is_quick=True),
        _case((32, 512, 4, 4), dtype=torch.bfloat16),
        _case((32, 128, 128, 128), dtype=torch.bfloat16),
        _case((32, 128, 128, 128), dtype=torch.bfloat16, is_channels_last=True),
        _case((8, 32, 512, 512), dtype=torch.bfloat16, is_channels_last=True),
    ]


def _noise(x: torch.Tensor) -> torch.Tensor:
    """[N, 1, H, W]: x's first channel, so that no gradient of the noise is asked for."""
    return x[:, :1].detach()


def _run(x, scale, strength, b):
    return noise_bias_act(x, scale, _noise(x), strength, b, "lrelu", clamp=_CLAMP)


def _plain(x, scale, strength, b):
    dtype = torch.promote_types(x.dtype, torch.float32)
    scale, strength, b = scale.to(dtype), strength.to(dtype), b.to(dtype)
    return noise_bias_act_ref(x, scale, _noise(x), strength, b, _ALPHA, _GAIN, _CLAMP)


def _case(shape: tuple[int, ...], **options) -> OpCase:
    n, noise = math.prod(shape), math.prod(shape) // shape[1]
    itemsize = options.get("dtype", torch.float32).itemsize
    # Forward reads x and noise, writes y. Backward reads dy, y, x and noise, writes dx. The pass
    # over dx alone reads ddx, dy and y, writes d_dy.
    floor = {"forward": 2 * n + noise, "forward+backward": 6 * n + 2 * noise,
             "double": 9 * n + noise}  # fmt: skip
    # Beyond that the noise is made dense, the parts of three sums are written and read, and d_scale
    # comes from a pass of its own, which reads ddx, dy and y again and writes what nobody reads.
    parts = _parts(shape, options.get("is_channels_last", False), itemsize) * 4 // itemsize
    return OpCase(
        op="noise_bias_act",
        name=f"lrelu {'x'.join(map(str, shape))}",
        shapes=(shape, shape[:2], (), shape[1:2]),
        run=_run,
        plain=_plain,
        floor_elements=floor,
        grid=_GRID,
        gpu_work={
            "forward": GpuWork(moved_elements=floor["forward"] + 2 * noise, launches=2),
            "forward+backward": GpuWork(
                moved_elements=floor["forward+backward"] + 2 * noise + 2 * parts, launches=4
            ),
            "double": GpuWork(moved_elements=12 * n + 3 * noise + 2 * parts, launches=6),
        },
        **options,
    )


def _parts(shape: tuple[int, ...], is_channels_last: bool, itemsize: int) -> int:
    """About how many numbers the first stage leaves: 2048 blocks' worth, or one per plane."""
    n, c = shape[:2]
    at_once = min(c, 32 * 16 // itemsize) if is_channels_last else 1
    return 3 * max(n * c, 2048 * at_once)
