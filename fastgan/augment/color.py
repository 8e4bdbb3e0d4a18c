# SPDX-License-Identifier: Apache-2.0
"""Colour transforms (Karras et al. 2020, appendix B): a random matrix on homogeneous RGB."""

import torch
from torch import Tensor


def change_color(x: Tensor, transform: Tensor, executed: Tensor) -> Tensor:
    """x [N, 1 or 3, H, W] with the matrix of each image applied to every pixel.

    An image for which nothing is executed is returned bit by bit. Values are not clamped.

    Args:
        x: values in about [-1, 1].
        transform: of `fastgan.ops.augment_matrices.color_matrix`.
        executed: [N] bool: whether the image has any.
    """
    n, channels = x.shape[:2]
    transform = transform.to(x.dtype)
    y = torch.baddbmm(
        transform[:, :channels, channels:], transform[:, :channels, :channels], x.flatten(2)
    )
    return torch.where(executed.view(n, 1, 1, 1), y.view_as(x), x)
