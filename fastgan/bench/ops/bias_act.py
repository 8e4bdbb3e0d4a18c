# SPDX-License-Identifier: Apache-2.0
"""bias_act as StyleGAN2 calls it: bias, activation, gain √2, clamp 256."""

import math

import torch
import torch.nn.functional as F

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops import bias_act
from fastgan.ops.bias_act import bias_act_ref

_GAIN, _CLAMP, _ALPHA = math.sqrt(2), 256.0, 0.2


def cases() -> list[OpCase]:
    return [
        _case((8, 64, 64, 64), is_quick=True),
        _case((8, 512, 16, 16), is_quick=True),
        _case((8, 64, 64, 64), dtype=torch.bfloat16, is_channels_last=True, is_quick=True),
        _case((64, 512), is_quick=True),
        _case((8, 64, 64, 64), act="swish", is_quick=True),
        _case((4, 64, 8, 8)),
        _case((8, 512)),
        _case((8, 64, 256, 256)),
        _case((8, 128, 128, 128)),
        _case((8, 512, 32, 32)),
        _case((8, 64, 128, 128), is_channels_last=True),
        _case((8, 64, 128, 128), dtype=torch.bfloat16, is_channels_last=True),
        _as_written((8, 64, 64, 64), 1.0),
        _as_written((8, 64, 64, 64), _GAIN),
        _as_written((8, 64, 128, 128), _GAIN, dtype=torch.bfloat16, is_channels_last=True),
    ]


def gpu_cases() -> list[OpCase]:
    """Layers of a 256² StyleGAN2 at 32 images a GPU."""
    return [
        _case((32, 128, 128, 128), dtype=torch.bfloat16),
        _case((32, 128, 128, 128), dtype=torch.bfloat16, is_channels_last=True),
        _case((32, 128, 128, 128)),
        _case((32, 512, 16, 16), dtype=torch.bfloat16),
        _case((32, 128, 128, 128), act="swish", dtype=torch.bfloat16),
    ]


def _as_written(shape: tuple[int, ...], gain: float, **options) -> OpCase:
    """Without a clamp, against the lines of torch that it takes the place of."""
    n = math.prod(shape)

    def plain(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        y = F.leaky_relu(x + b[:, None, None], _ALPHA)
        return y if gain == 1 else y * gain

    return OpCase(
        op="bias_act",
        name=f"F.leaky_relu(x + b){'' if gain == 1 else ' · √2'} {'x'.join(map(str, shape))}",
        shapes=(shape, (shape[1],)),
        run=lambda x, b: bias_act(x, b, act="lrelu", gain=gain),
        plain=plain,
        floor_elements={"forward": 2 * n, "forward+backward": 5 * n, "double": 8 * n},
        is_as_written=True,
        **options,
    )


def _case(shape: tuple[int, ...], act: str = "lrelu", **options) -> OpCase:
    n = math.prod(shape)
    # Forward reads x, writes y. Backward reads dy and y (lrelu) or x (swish), writes dx. The pass
    # over dx reads ddx and y, writes d_dy; a curved activation also reads dy and writes d_x.
    second = 3 * n if act == "lrelu" else 5 * n
    return OpCase(
        op="bias_act",
        name=f"{act} {'x'.join(map(str, shape))}",
        shapes=(shape, (shape[1],)),
        run=lambda x, b: bias_act(x, b, act=act, clamp=_CLAMP),
        plain=lambda x, b: bias_act_ref(x, b, 1, act, _ALPHA, _GAIN, _CLAMP),
        floor_elements={
            "forward": 2 * n,
            "forward+backward": 5 * n,
            "double": 5 * n + second,
        },
        # The second stage of the bias gradient is a launch; the pass over dx makes none.
        gpu_work={"forward+backward": GpuWork(moved_elements=5 * n, launches=3)},
        **options,
    )
