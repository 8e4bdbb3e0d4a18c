# SPDX-License-Identifier: Apache-2.0
"""anti_aliased_snake with SnakeBeta and BigVGAN's filters, at the stages of its generator."""

import math

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops import anti_aliased_snake, kaiser_sinc_filter
from fastgan.ops.anti_aliased_snake import anti_aliased_snake_ref

_TAPS = 12


def cases() -> list[OpCase]:
    return [
        _case((4, 256, 256), is_quick=True),
        _case((4, 32, 8192), is_quick=True),
        _case((4, 64, 4096)),
        _case((8, 64, 8192)),
        _case((8, 32, 8192), dtype=torch.bfloat16),
    ]


def gpu_cases() -> list[OpCase]:
    """Training segments of 8192 samples, stage by stage, and inference on ten seconds."""
    return [
        _case((32, 768, 128)),
        _case((32, 384, 512)),
        _case((32, 192, 1024)),
        _case((32, 24, 8192)),
        _case((32, 24, 8192), dtype=torch.bfloat16),
        _case((1, 24, 240000)),
        _case((1, 24, 240000), dtype=torch.bfloat16),
        _case((32, 24, 8192), ratio=3, taps=18),  # by the kernels for any ratio
    ]


def _case(x: tuple[int, ...], ratio: int = 2, taps: int = _TAPS, **options) -> OpCase:
    f = kaiser_sinc_filter(0.5 / ratio, 0.6 / ratio, taps)
    numel, channels = math.prod(x), x[1]
    itemsize = options.get("dtype", torch.float32).itemsize
    wide = 4 // itemsize
    # Forward reads x, writes y; backward reads x and dy, writes dx. Parameters and their gradients
    # are small. The second pass is plain torch: about 60 passes over up-sampled float32 signals.
    backward = 5 * numel
    return OpCase(
        op="anti_aliased_snake",
        name=f"{'' if ratio == 2 else f'by {ratio} '}{'x'.join(map(str, x))}",
        shapes=(x, (channels,), (channels,)),
        run=lambda x, a, b: anti_aliased_snake(
            x, _rate(a), _rate(b), f.to(x.device), f.to(x.device), ratio, ratio
        ),
        plain=lambda x, a, b: anti_aliased_snake_ref(
            x, *_wide(x, _rate(a), _rate(b), f.to(x.device), f.to(x.device)), ratio, ratio
        ),
        floor_elements={
            "forward": 2 * numel,
            "forward+backward": backward,
            "double": 8 * numel,
        },
        gpu_work={
            "forward+backward": GpuWork(moved_elements=backward, launches=3),
            "double": GpuWork(moved_elements=backward + 60 * ratio * wide * numel, launches=80),
        },
        **options,
    )


def _rate(v: torch.Tensor) -> torch.Tensor:
    """Positive frequencies around 1 from normal numbers."""
    return (0.3 * v).exp()


def _wide(x: torch.Tensor, *tensors: torch.Tensor) -> list[torch.Tensor]:
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return [t.to(dtype) for t in tensors]
