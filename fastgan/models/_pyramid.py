# SPDX-License-Identifier: Apache-2.0
"""Image sizes from the base of a network to its output, for any height and width."""

import torch
import torch.nn.functional as F


def halving_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """[(base), ..., (height, width)]: each size is the ceil-half of the next.

    Halving stops when the shorter side is below 8, so the base has a shorter side of 4..7 (less for
    images smaller than that). Powers of two end at 4, the geometry of StyleGAN2.
    """
    sizes = [(height, width)]
    while min(sizes[0]) >= 8:
        h, w = sizes[0]
        sizes.insert(0, ((h + 1) // 2, (w + 1) // 2))
    return sizes


def size_name(size: tuple[int, int]) -> str:
    """Module name of the block at ``size``: b4 for 4 × 4, b5x7 for 5 × 7."""
    height, width = size
    return f"b{height}" if height == width else f"b{height}x{width}"


def channels_at(size: tuple[int, int], base: int, most: int) -> int:
    """base / r channels, at least 1 and at most ``most``, with r = 2^k ≥ the longer side."""
    r = 1 << (max(size) - 1).bit_length()
    return max(min(base // r, most), 1)


def pad_to_even(x: torch.Tensor) -> torch.Tensor:
    """x [N, C, H, W], zero-padded at the right and bottom where a side is odd."""
    odd_h, odd_w = x.shape[2] % 2, x.shape[3] % 2
    return F.pad(x, (0, odd_w, 0, odd_h)) if odd_h or odd_w else x
