"""conv2d, as it chooses, against torch's at sizes of StyleGAN2, StyleGAN3 and R3GAN in float32."""

import math

import torch.nn.functional as F

from fastgan.bench.op_case import Case
from fastgan.ops import conv2d


def cases() -> list[Case]:
    return [
        _case(8, 64, 64, 64, is_quick=True),
        _case(8, 128, 128, 32, is_quick=True),
        _case(8, 256, 256, 16),
        _case(8, 256, 256, 8),
        _case(8, 64, 64, 128),
        _case(8, 512, 512, 16),
        _case(4, 512, 512, 64),
    ]


def _case(n: int, c: int, k: int, size: int, **options) -> Case:
    x, w, y = (n, c, size, size), (k, c, 3, 3), (n, k, size, size)
    maps, weights, out = math.prod(x), math.prod(w), math.prod(y)
    forward = maps + weights + out
    return Case(
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
