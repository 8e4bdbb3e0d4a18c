"""upfirdn2d with StyleGAN2's [1, 3, 3, 1]: up-sample by 2, down-sample by 2, and filter alone."""

import math
from typing import NamedTuple

import torch

from benchmarks._case import Case
from fastgan.ops import setup_filter, upfirdn2d
from fastgan.ops.upfirdn2d import upfirdn2d_ref


class _Kind(NamedTuple):
    up: int
    down: int
    padding: tuple[int, int]  # before, after, on both axes
    gain: float


_KINDS = {
    "up2": _Kind(up=2, down=1, padding=(2, 1), gain=4.0),
    "down2": _Kind(up=1, down=2, padding=(1, 1), gain=1.0),
    "filter": _Kind(up=1, down=1, padding=(2, 1), gain=1.0),
}


def cases() -> list[Case]:
    return [
        _case("up2", (8, 64, 32, 32), is_quick=True),
        _case("down2", (8, 64, 64, 64), is_quick=True),
        _case("filter", (8, 64, 32, 32), is_channels_last=True, is_quick=True),
        _case("down2", (8, 3, 64, 64), is_quick=True),
        _case("up2", (8, 512, 8, 8)),
        _case("up2", (8, 64, 128, 128)),
        _case("down2", (8, 64, 256, 256)),
        _case("filter", (8, 64, 128, 128)),
        _case("up2", (8, 64, 64, 64), is_channels_last=True),
        _case("down2", (8, 64, 128, 128), dtype=torch.bfloat16, is_channels_last=True),
    ]


def _case(kind: str, shape: tuple[int, ...], **options) -> Case:
    up, down, padding, gain = _KINDS[kind]
    pads = (*padding, *padding)
    f = setup_filter([1, 3, 3, 1])
    moved = math.prod(shape) + math.prod(shape) * up * up // (down * down)  # reads one, writes one
    return Case(
        op="upfirdn2d",
        name=f"{kind} {'x'.join(map(str, shape))}",
        shapes=(shape,),
        run=lambda x: upfirdn2d(x, f.to(x.device), up=up, down=down, padding=pads, gain=gain),
        plain=lambda x: upfirdn2d_ref(x, f, up, up, down, down, *pads, False, gain),
        floor_elements={
            "forward": moved,
            "forward+backward": 2 * moved,
            "double": 3 * moved,
        },
        **options,
    )
