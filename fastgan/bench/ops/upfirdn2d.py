# SPDX-License-Identifier: Apache-2.0
"""upfirdn2d with StyleGAN2's [1, 3, 3, 1]: up-sample by 2, down-sample by 2, and filter alone."""

import math
from typing import NamedTuple

import torch

from fastgan.bench.op_case import OpCase
from fastgan.ops import setup_filter, upfirdn2d
from fastgan.ops.upfirdn2d._definition import upfirdn2d_ref


class _Kind(NamedTuple):
    up: int
    down: int
    padding: tuple[int, int]  # before, after, on both axes
    gain: float
    taps: tuple[float, ...] = (1, 3, 3, 1)


_WAVELET = (0.015, 0.003, -0.118, -0.048, 0.491, 0.788, 0.338, -0.073, -0.021, 0.045, 0.002, -0.008)
_KINDS = {
    "up2": _Kind(up=2, down=1, padding=(2, 1), gain=4.0),
    "down2": _Kind(up=1, down=2, padding=(1, 1), gain=1.0),
    "filter": _Kind(up=1, down=1, padding=(2, 1), gain=1.0),
    "after conv": _Kind(up=1, down=1, padding=(1, 1), gain=4.0),  # 2H + 1 to 2H
    "before conv": _Kind(up=1, down=1, padding=(2, 2), gain=1.0),  # H to H + 1
    "wavelet up2": _Kind(up=2, down=1, padding=(6, 5), gain=4.0, taps=_WAVELET),
    "wavelet down2": _Kind(up=1, down=2, padding=(5, 5), gain=1.0, taps=_WAVELET),
}


def cases() -> list[OpCase]:
    return [
        _case("up2", (8, 64, 32, 32), is_quick=True),
        _case("down2", (8, 64, 64, 64), is_quick=True),
        _case("filter", (8, 64, 32, 32), is_channels_last=True, is_quick=True),
        _case("down2", (8, 3, 64, 64), is_quick=True),
        _case("up2", (8, 512, 8, 8)),
        _case("up2", (8, 64, 128, 128)),
        _case("down2", (8, 64, 256, 256)),
        _case("filter", (8, 64, 128, 128)),
        _case("filter", (8, 64, 256, 256)),
        _case("filter", (8, 512, 16, 16)),
        _case("up2", (8, 64, 64, 64), is_channels_last=True),
        _case("filter", (8, 64, 128, 128), is_channels_last=True),
        _case("up2", (8, 64, 128, 128), dtype=torch.bfloat16),
        _case("down2", (8, 64, 128, 128), dtype=torch.bfloat16, is_channels_last=True),
    ]


def gpu_cases() -> list[OpCase]:
    """Training at 256² in bfloat16.

    What is moved is taken at the minimum. A strip of outputs reads rows of the next one a second
    time, but out of the L2 cache, where its neighbour has just put them: of its own rows, 1 in 16
    (up2), 3 in 32 (filter) and 2 in 64 (down2); channels_last 3 in 16 (filter) and 2 in 16 (down2).
    """
    bf16 = {"dtype": torch.bfloat16}
    return [
        _case("up2", (32, 128, 128, 128), **bf16),
        _case("down2", (32, 128, 128, 128), **bf16),
        _case("filter", (32, 128, 128, 128), **bf16),
        _case("after conv", (32, 128, 257, 257), **bf16),
        _case("before conv", (32, 128, 128, 128), **bf16),
        _case("up2", (32, 512, 8, 8), **bf16),
        _case("up2", (32, 128, 128, 128), is_channels_last=True, **bf16),
        _case("down2", (32, 128, 128, 128), is_channels_last=True, **bf16),
        _case("filter", (32, 128, 128, 128), is_channels_last=True, **bf16),
        _case("wavelet up2", (32, 3, 262, 262)),
        _case("wavelet down2", (32, 3, 524, 524)),
    ]


def _case(kind: str, shape: tuple[int, ...], **options) -> OpCase:
    up, down, padding, gain, taps = _KINDS[kind]
    pads = (*padding, *padding)
    f = setup_filter(taps)
    n, c, *size = shape
    out = [(s * up + sum(padding) - len(taps)) // down + 1 for s in size]
    moved = math.prod(shape) + n * c * math.prod(out)  # reads one, writes one
    return OpCase(
        op="upfirdn2d",
        name=f"{kind} {'x'.join(map(str, shape))}",
        shapes=(shape,),
        run=lambda x: upfirdn2d(x, f.to(x.device), up=up, down=down, padding=pads, gain=gain),
        plain=lambda x: upfirdn2d_ref(x, f.to(x.device), up, up, down, down, *pads, False, gain),
        floor_elements={
            "forward": moved,
            "forward+backward": 2 * moved,
            "double": 3 * moved,
        },
        **options,
    )
