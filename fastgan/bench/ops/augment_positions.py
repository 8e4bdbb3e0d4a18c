# SPDX-License-Identifier: Apache-2.0
"""augment_warp_grid of a batch of images: two coordinates for each sample of the doubled image."""

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops.augment_positions import augment_warp_grid, warp_grid_ref

_LEAD, _CENTER = 5, 0.5


def cases() -> list[OpCase]:
    return [_case(8, 64, is_quick=True), _case(32, 256)]


def _case(n: int, size: int, **options) -> OpCase:
    written = n * (2 * (size + _LEAD)) ** 2 * 2

    def run(inverse: torch.Tensor) -> torch.Tensor:
        return augment_warp_grid(inverse, size, size, lead=_LEAD, center=_CENTER)

    def plain(inverse: torch.Tensor) -> torch.Tensor:
        return warp_grid_ref(inverse, size, size, _LEAD, _CENTER)

    return OpCase(
        op="augment_positions",
        name=f"grid of {n} images of {size}",
        shapes=((n, 3, 3),),
        run=run,
        plain=plain,
        floor_elements={"forward": written, "forward+backward": 0, "double": 0},
        gpu_work={"forward": GpuWork(moved_elements=written)},
        **options,
    )
