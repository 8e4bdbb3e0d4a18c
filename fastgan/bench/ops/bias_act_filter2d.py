# SPDX-License-Identifier: Apache-2.0
"""bias_act_filter2d between two convolutions of StyleGAN2's discriminator.

On a CPU it is bias_act and upfirdn2d, one after the other, in all that is measured here.
"""

import math

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops import bias_act_filter2d, setup_filter
from fastgan.ops.bias_act import bias_act_ref
from fastgan.ops.upfirdn2d._definition import upfirdn2d_ref

_GAIN, _CLAMP, _ALPHA = math.sqrt(2), 256.0, 0.2


def cases() -> list[OpCase]:
    return [
        _case((8, 64, 64, 64), is_quick=True),
        _case((8, 64, 64, 64), dtype=torch.bfloat16, is_quick=True),
        _case((8, 512, 16, 16)),
    ]


def gpu_cases() -> list[OpCase]:
    """Layers of a 256² StyleGAN2 at 32 images a GPU."""
    return [
        _case((32, 128, 128, 128)),
        _case((32, 128, 128, 128), dtype=torch.bfloat16),
        _case((32, 512, 16, 16)),
    ]


def _case(shape: tuple[int, ...], **options) -> OpCase:
    n, out = math.prod(shape), math.prod(shape[:2]) * (shape[2] + 1) * (shape[3] + 1)
    # Two bits an element are kept: a part of an element that rounds up.
    codes = -(-n // (4 * options.get("dtype", torch.float32).itemsize))
    each = n + out + codes
    f = setup_filter([1, 3, 3, 1])

    def plain(x, b):
        w = bias_act_ref(x, b, 1, "lrelu", _ALPHA, _GAIN, _CLAMP)
        return upfirdn2d_ref(w, f.to(x.device), 1, 1, 1, 1, 2, 2, 2, 2, False, 1.0)

    return OpCase(
        op="bias_act_filter2d",
        name="x".join(map(str, shape)),
        shapes=(shape, (shape[1],)),
        run=lambda x, b: bias_act_filter2d(
            x, b, f.to(x.device), padding=2, act="lrelu", clamp=_CLAMP
        ),
        plain=plain,
        floor_elements={"forward": n + out, "forward+backward": 2 * each, "double": 3 * each},
        # The bias gradient takes two launches more; the pass over dx makes none.
        gpu_work={"forward+backward": GpuWork(moved_elements=2 * each, launches=4)},
        is_channels_last=True,
        **options,
    )
