# SPDX-License-Identifier: Apache-2.0
"""conv2d of stride 2 and conv_transpose2d, as they choose, against torch's, in float32.

Sizes of StyleGAN2: D halves, G doubles; and 4×4 kernels of DCGAN, which gain on AMX alone.
"""

import math

import torch.nn.functional as F

from fastgan.bench.op_case import OpCase
from fastgan.ops import conv2d, conv_transpose2d


def cases() -> list[OpCase]:
    return [
        _case(8, 64, 128, 32, is_quick=True),
        _case(8, 128, 256, 16),
        _case(8, 256, 256, 8),
        _case(8, 512, 512, 16),
        _transposed_case(8, 128, 64, 32, is_quick=True),
        _transposed_case(8, 256, 128, 16),
        _transposed_case(8, 256, 256, 8),
        _case(16, 64, 128, 16, side=4),
        _case(16, 128, 256, 8, side=4),
        _transposed_case(16, 128, 64, 16, side=4),
        _transposed_case(16, 256, 128, 8, side=4),
    ]


def _case(n: int, c: int, k: int, size: int, *, side: int = 3, **options) -> OpCase:
    x, w, y = (n, c, 2 * size, 2 * size), (k, c, side, side), (n, k, size, size)
    return OpCase(
        op="winograd_strided_conv2d",
        name=f"{n}x{c}->{k} to {size}x{size}{_taps(side)}",
        shapes=(x, w),
        run=lambda x, w: conv2d(x, w, stride=2, padding=1),
        plain=lambda x, w: F.conv2d(x, w, stride=2, padding=1),
        floor_elements=_floors(x, w, y),
        is_channels_last=True,
        **options,
    )


def _transposed_case(n: int, c: int, k: int, size: int, *, side: int = 3, **options) -> OpCase:
    x, w, y = (n, c, size, size), (c, k, side, side), (n, k, *[2 * size + side - 2] * 2)
    return OpCase(
        op="winograd_strided_conv2d",
        name=f"transposed {n}x{c}->{k} from {size}x{size}{_taps(side)}",
        shapes=(x, w),
        run=lambda x, w: conv_transpose2d(x, w, stride=2),
        plain=lambda x, w: F.conv_transpose2d(x, w, stride=2),
        floor_elements=_floors(x, w, y),
        is_channels_last=True,
        **options,
    )


def _taps(side: int) -> str:
    return "" if side == 3 else f", {side}x{side} taps"


def _floors(*shapes: tuple[int, ...]) -> dict[str, int]:
    """All three once; both gradients read what a third reads; the second pass likewise. Bytes are
    not what bounds any of them."""
    forward = sum(map(math.prod, shapes))
    return {"forward": forward, "forward+backward": 3 * forward, "double": 4 * forward}
