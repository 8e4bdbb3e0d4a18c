# SPDX-License-Identifier: Apache-2.0
"""conv2d in groups, as it chooses, against torch's at sizes of R3GAN in float32."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from fastgan.bench.op_case import OpCase
from fastgan.ops import conv2d


def cases() -> list[OpCase]:
    return [
        _case(16, 128, 16, 32, is_quick=True),
        _case(16, 256, 16, 16),
        _case(16, 512, 16, 8),
        _case(16, 512, 16, 4),
        _case(16, 128, 8, 32),
        _case(16, 128, 32, 32),
    ]


def _case(n: int, c: int, width: int, size: int, **options) -> OpCase:
    x, w = (n, c, size, size), (c, width, 3, 3)
    forward = 2 * math.prod(x) + math.prod(w)
    return OpCase(
        op="grouped_conv2d",
        name=f"{n}x{c} by {width} at {size}x{size}",
        shapes=(x, w),
        run=_in_groups(conv2d),
        plain=_in_groups(F.conv2d),
        # Passes as in winograd_conv2d.
        floor_elements={
            "forward": forward,
            "forward+backward": 3 * forward,
            "double": 4 * forward,
        },
        is_channels_last=True,
        **options,
    )


def _in_groups(convolve: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`convolve` in as many groups as the shapes say, which may be other sizes than the case's."""

    def run(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        groups, rest = divmod(x.shape[1], w.shape[1])
        if rest or w.shape[0] % groups:
            raise ValueError(f"grouped_conv2d: no groups fit x {x.shape} and w {w.shape}")
        return convolve(x, w, padding=1, groups=groups)

    return run
