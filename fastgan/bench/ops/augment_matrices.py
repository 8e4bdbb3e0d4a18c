# SPDX-License-Identifier: Apache-2.0
"""augment_matrices of a batch of images: what counts is the number of launches.

The tensor that a case takes says the number of images alone. A CPU makes the words of the numbers
in a kernel, and the rest by torch's functions, on both sides.
"""

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops.augment_matrices import augment_matrices, augment_matrices_ref
from fastgan.ops.sample_random import Place

_OPTIONS = {"has_blit": True, "has_geom": True, "color_share": 1.0}
_SIZES = (256, 256, 3)
_WRITTEN = 9 + 9 + 16  # elements an image


def cases() -> list[OpCase]:
    return [_case(32, is_quick=True), _case(256)]


def _place(x: torch.Tensor) -> Place:
    return Place(torch.zeros([], dtype=torch.int64, device=x.device), 1, 0, 1, 0)


def _p(x: torch.Tensor) -> torch.Tensor:
    return torch.full([], 0.5, device=x.device)


def _draw(x: torch.Tensor) -> torch.Tensor:
    drawn = augment_matrices(_p(x), _place(x), x.shape[0], *_SIZES, **_OPTIONS)
    return drawn[1].to(x.dtype)


def _plain(x: torch.Tensor) -> torch.Tensor:
    drawn = augment_matrices_ref(_p(x), *_place(x), x.shape[0], *_SIZES, *_OPTIONS.values())
    return drawn[1].to(x.dtype)


def _case(n: int, **options) -> OpCase:
    return OpCase(
        op="augment_matrices",
        name=f"{n} images",
        shapes=((n,),),
        run=_draw,
        plain=_plain,
        floor_elements={"forward": _WRITTEN * n, "forward+backward": 0, "double": 0},
        gpu_work={"forward": GpuWork(moved_elements=_WRITTEN * n)},
        **options,
    )
