# SPDX-License-Identifier: Apache-2.0
"""augment_pixel_index and augment_warp_grid: where the pixels of moved images come from.

`pixel_index_ref` and `warp_grid_ref` define them. Coordinates are pixels with the origin at the
image's centre, x to the right and y down; a position beyond the image is mirrored at its outer
pixels. On CUDA each is one launch; a CPU takes torch's functions. Not differentiable; capturable.
Source: Karras et al., "Training Generative Adversarial Networks with Limited Data" (2020), appendix
B.
"""

import torch
from torch import Tensor

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op

__all__: list[str] = []  # fastgan.augment is what users call


def reflect(position: Tensor, size: int) -> Tensor:
    """Integer or real pixel positions folded into [0, size - 1], mirrored at the outer pixels."""
    if size == 1:
        return torch.zeros_like(position)
    period = 2 * (size - 1)
    folded = position.remainder(period)
    return torch.minimum(folded, period - folded)


def pixel_index_ref(inverse: Tensor, height: int, width: int) -> Tensor:
    """The definition of `augment_pixel_index` in PyTorch."""
    rows = torch.arange(height, device=inverse.device, dtype=inverse.dtype)
    columns = torch.arange(width, device=inverse.device, dtype=inverse.dtype)
    v, u = _source(inverse, rows, columns, height, width)  # [N, H, W]
    return v.round().long() * width + u.round().long()


def warp_grid_ref(inverse: Tensor, height: int, width: int, lead: int, center: float) -> Tensor:
    """The definition of `augment_warp_grid` in PyTorch."""
    options = {"device": inverse.device, "dtype": inverse.dtype}
    rows = torch.arange(-lead, 2 * height + lead, **options)
    columns = torch.arange(-lead, 2 * width + lead, **options)
    v, u = _source(inverse, (rows - center) / 2, (columns - center) / 2, height, width)
    return torch.stack([_normalized(u, center, width), _normalized(v, center, height)], dim=-1)


def _source(
    inverse: Tensor, rows: Tensor, columns: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Source row and column [N, len(rows), len(columns)] of every output position, in the image."""
    y = rows[:, None] - (height - 1) / 2
    x = columns - (width - 1) / 2
    entry = inverse[:, :, :, None, None]
    v = entry[:, 1, 0] * x + entry[:, 1, 1] * y + entry[:, 1, 2]
    u = entry[:, 0, 0] * x + entry[:, 0, 1] * y + entry[:, 0, 2]
    return reflect(v + (height - 1) / 2, height), reflect(u + (width - 1) / 2, width)


def _normalized(position: Tensor, center: float, size: int) -> Tensor:
    """grid_sample's coordinate, in the doubled image, of a pixel position in the image itself."""
    return (2 * (2 * position + center) + 1) / (2 * size) - 1


_index_op = define_op(
    "augment_pixel_index(Tensor inverse, int height, int width) -> Tensor",
    reference=pixel_index_ref,
    fake=lambda inverse, height, width: inverse.new_empty(
        inverse.shape[0], height, width, dtype=torch.int64
    ),
)
_grid_op = define_op(
    "augment_warp_grid(Tensor inverse, int height, int width, int lead, float center) -> Tensor",
    reference=warp_grid_ref,
    fake=lambda inverse, height, width, lead, center: inverse.new_empty(
        inverse.shape[0], 2 * (height + lead), 2 * (width + lead), 2
    ),
)


def _check(function: str, inverse: Tensor) -> None:
    if inverse.dim() != 3 or inverse.shape[1:] != (3, 3):
        raise ValueError(
            f"{function}: inverse must have shape [N, 3, 3], got {tuple(inverse.shape)}; pass one "
            "matrix for each image"
        )


def augment_pixel_index(inverse: Tensor, height: int, width: int) -> Tensor:
    """The flat index in the image of the pixel that each output pixel copies.

    Args:
        inverse: [N, 3, 3] float32 or float64, of whole flips, turns and shifts.
        height: of the images.
        width: of the images.

    Returns:
        int64 [N, height, width].

    Raises:
        ValueError: inverse has another shape.
    """
    _check("augment_pixel_index", inverse)
    run = pixel_index_ref if reference_is_forced() else _index_op
    return run(inverse.contiguous(), height, width)


def augment_warp_grid(
    inverse: Tensor, height: int, width: int, *, lead: int, center: float
) -> Tensor:
    """Coordinates for `torch.nn.functional.grid_sample` in images that were doubled in size.

    Args:
        inverse: [N, 3, 3] float32 or float64.
        height: of the images themselves.
        width: of the images themselves.
        lead: samples of the doubled output before its first pixel, and after its last one.
        center: how far, in samples, the centre of the doubling filter lies behind its sample.

    Returns:
        [N, 2·(height + lead), 2·(width + lead), 2] of inverse.dtype, contiguous.

    Raises:
        ValueError: inverse has another shape.
    """
    _check("augment_warp_grid", inverse)
    run = warp_grid_ref if reference_is_forced() else _grid_op
    return run(inverse.contiguous(), height, width, lead, center)
