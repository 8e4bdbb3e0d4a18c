# SPDX-License-Identifier: Apache-2.0
"""The matrices of the geometric and of the colour transforms, drawn for a batch of images."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from fastgan import sample_rng
from fastgan.augment.random_factors import draw_numbers
from fastgan.ops.augment_matrices import augment_matrices, kinds_of, of_numbers


class Matrices(NamedTuple):
    """What `fastgan.ops.augment_matrices` returns; empty tensors for what is not drawn."""

    blit: Tensor
    inverse: Tensor
    is_moved: Tensor
    color: Tensor
    is_colored: Tensor


def draw_matrices(
    n: int,
    channels: int,
    height: int,
    width: int,
    p: Tensor,
    *,
    has_blit: bool,
    has_geom: bool,
    color_share: float,
) -> Matrices:
    """Draws the matrices of n images: in one launch on CUDA, where samples have their own numbers.

    Args:
        n: the number of images.
        channels: of the images.
        height: of the images.
        width: of the images.
        p: the probability of a transform, [].
        has_blit: whether x-flip, quarter turns and whole translation are drawn.
        has_geom: whether the general geometric transforms are.
        color_share: p of a colour transform over p; 0 without them.

    Returns:
        inverse is that of blit and then the general transforms, is_moved of the latter alone.
    """
    options = (height, width, channels, has_blit, has_geom, color_share)
    count = len(kinds_of(*options))
    is_plain = p.dtype == torch.get_default_dtype() == torch.float32
    place = sample_rng.place_at_once(count, p.device) if is_plain else None
    if place is None:
        return Matrices(*of_numbers(partial(draw_numbers, n=n, p=p), p, *options))
    return Matrices(
        *augment_matrices(
            p, place, n, height, width, channels, has_blit=has_blit, has_geom=has_geom,
            color_share=color_share,
        )
    )  # fmt: skip
