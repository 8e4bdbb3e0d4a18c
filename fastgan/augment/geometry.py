# SPDX-License-Identifier: Apache-2.0
"""Pixel blitting and general geometric transforms (Karras et al. 2020, appendix B).

Coordinates are pixels with the origin at the image's centre, x to the right and y down. Every
transform is drawn as the inverse of its homogeneous 3×3 matrix, because an output pixel asks where
it comes from: a chain T1, then T2, has the inverse T1⁻¹ @ T2⁻¹. All functions are linear in x, so
derivatives of every order with respect to x exist.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from fastgan.augment.reflect import reflect_pad
from fastgan.ops import upfirdn2d
from fastgan.ops.augment_positions import augment_pixel_index, augment_warp_grid

# Low-pass filter of the symlet with 6 vanishing moments; sum √2. It is orthogonal to its even
# shifts, so that upsampling by 2 and then applying the adjoint gives back the image.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
_LEAD = 5  # taps before the sample that a filter window belongs to
# How far behind that sample the window's centre of mass lies.
_CENTER = sum(i * tap for i, tap in enumerate(SYM6)) / math.sqrt(2) - _LEAD


def gather_pixels(x: Tensor, inverse: Tensor) -> Tensor:
    """x [N, C, H, W] moved by a matrix of `blit_matrix`: copies pixels; reflect padding."""
    n, channels, height, width = x.shape
    index = augment_pixel_index(inverse, height, width).view(n, 1, height * width)
    return x.flatten(2).gather(2, index.expand(-1, channels, -1)).view_as(x)


def warp(x: Tensor, inverse: Tensor, f: Tensor) -> Tensor:
    """x [N, C, H, W] moved by any inverse matrix [N, 3, 3], anti-aliased, with reflect padding.

    As in the paper: upsample by 2 with the wavelet filter, sample bilinearly, downsample by 2 with
    the same filter. f is SYM6 divided by its sum, [12]. The filter's centre of mass is not a half
    sample, hence _CENTER.
    """
    height, width = x.shape[2:]
    # torch's padding is one kernel; it takes no padding as large as the image.
    is_large = min(height, width) > 3
    padded = F.pad(x, (3, 3, 3, 3), mode="reflect") if is_large else reflect_pad(x, 3)
    up = upfirdn2d(padded, f, up=2, padding=(0, -1, 0, -1), gain=4.0)  # [N, C, 2H, 2W]
    grid = augment_warp_grid(inverse.to(x.dtype), height, width, lead=_LEAD, center=_CENTER)
    y = F.grid_sample(up, grid, padding_mode="border", align_corners=False)
    return upfirdn2d(y, f, down=2, flip_filter=True)
