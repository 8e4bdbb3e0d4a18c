# SPDX-License-Identifier: Apache-2.0
"""conv2d, as it chooses, against torch's at sizes of StyleGAN2, StyleGAN3 and R3GAN in float32."""

import math

import torch
import torch.nn.functional as F

from fastgan.bench.op_case import OpCase
from fastgan.ops import conv2d
from fastgan.ops._backend import reference_is_forced


def cases() -> list[OpCase]:
    return [
        _case(8, 64, 64, 64, is_quick=True),
        _case(8, 128, 128, 32, is_quick=True),
        _case(8, 256, 256, 16),
        _case(8, 256, 256, 8),
        _case(8, 64, 64, 128),
        _case(8, 512, 512, 16),
        _case(4, 512, 512, 64),
        _weight_case(8, 64, 64, 64),
        _weight_case(8, 128, 128, 32),
        _weight_case(8, 256, 256, 32),
        _weight_case(8, 64, 64, 128),
    ]


def _case(n: int, c: int, k: int, size: int, **options) -> OpCase:
    x, w, y = (n, c, size, size), (k, c, 3, 3), (n, k, size, size)
    maps, weights, out = math.prod(x), math.prod(w), math.prod(y)
    forward = maps + weights + out
    return OpCase(
        op="winograd_conv2d",
        name=f"{n}x{c}->{k} at {size}x{size}",
        shapes=(x, w),
        run=lambda x, w: conv2d(x, w, padding=1),
        plain=lambda x, w: F.conv2d(x, w, padding=1),
        # dx reads dy and w, dw reads dy and x; the second pass is a convolution of ddx, and the
        # gradients of dx in dy and w. Bytes are not what bounds any of them.
        floor_elements={
            "forward": forward,
            "forward+backward": 3 * forward,
            "double": 4 * forward,
        },
        is_channels_last=True,
        **options,
    )


def _weight_case(n: int, c: int, k: int, size: int) -> OpCase:
    """The weight gradient as an op of its own; its derivatives are convolutions again."""
    x, dy, w = (n, c, size, size), (n, k, size, size), (k, c, 3, 3)
    forward = math.prod(x) + math.prod(dy) + math.prod(w)

    def plain(x: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        return torch.nn.grad.conv2d_weight(x, w, dy, padding=1)

    def run(x: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        native = torch.ops.fastgan.winograd_conv2d_weight  # no public function calls it alone
        return plain(x, dy) if reference_is_forced() else native(x, dy, 1, 1)

    return OpCase(
        op="winograd_conv2d",
        name=f"weight gradient {n}x{c}->{k} at {size}x{size}",
        shapes=(x, dy),
        run=run,
        plain=plain,
        floor_elements={
            "forward": forward,
            "forward+backward": 3 * forward,
            "double": 4 * forward,
        },
        is_channels_last=True,
    )
