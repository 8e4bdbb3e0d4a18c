# SPDX-License-Identifier: Apache-2.0
"""filtered_lrelu at layers of StyleGAN3: T's and, with a radial filter, R's."""

import math

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.models.stylegan3.lowpass import lowpass_filter
from fastgan.ops import filtered_lrelu
from fastgan.ops.filtered_lrelu import filtered_lrelu_ref

_SLOPE, _GAIN, _CLAMP = 0.2, math.sqrt(2), 256.0


def cases() -> list[OpCase]:
    return [
        _case((2, 64, 36, 36), 2, 2, is_quick=True),
        _case((2, 128, 84, 84), 2, 2),
        _case((2, 64, 84, 84), 4, 2),
        _case((2, 64, 84, 84), 2, 2, is_radial=True),
        _case((2, 32, 276, 276), 2, 2),
        _case((2, 64, 84, 84), 2, 2, dtype=torch.bfloat16, is_channels_last=True),
    ]


def _case(shape: tuple[int, ...], up: int, down: int, is_radial: bool = False, **options) -> OpCase:
    rate = 64.0
    fu = lowpass_filter(6 * up, rate / 2 / up, rate / 4 / up, rate)
    fd = lowpass_filter(6 * down, rate / 2 / down, rate / 4 / down, rate, is_radial=is_radial)
    total = 6 * (up + down) - 2 - up + 1  # as many samples come out as in: / (up / down)
    pads = (total + up) // 2, total - (total + up) // 2
    options_of_op = (up, down, *pads, *pads, _GAIN, _SLOPE, _CLAMP, False)
    n = math.prod(shape)
    codes = n * up**2 // 4 // options.get("dtype", torch.float32).itemsize
    return OpCase(
        op="filtered_lrelu",
        name=f"up{up} down{down}{' radial' if is_radial else ''} {'x'.join(map(str, shape))}",
        shapes=(shape, shape[1:2]),
        run=lambda x, b: filtered_lrelu(
            x / 16,
            fu.to(x.device),
            fd.to(x.device),
            _away(b),
            up,
            down,
            [*pads, *pads],
            clamp=_CLAMP,
        ),
        plain=lambda x, b: filtered_lrelu_ref(
            x / 16, fu.to(x.device), fd.to(x.device), _away(b), *options_of_op
        ),
        # No pass after the first reads x; slope codes, up²/4 bytes per element, are what ours
        # moves besides.
        floor_elements={"forward": 2 * n, "forward+backward": 4 * n, "double": 8 * n},
        gpu_work={
            "forward+backward": GpuWork(moved_elements=4 * n + 2 * codes, launches=2),
            "double": GpuWork(moved_elements=8 * n + 4 * codes, launches=4),
        },
        **options,
    )


def _away(b: torch.Tensor) -> torch.Tensor:
    """From the kink, beside which rounding decides which slope is right."""
    return b.sign() + b / 8
