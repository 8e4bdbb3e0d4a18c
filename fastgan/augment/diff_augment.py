# SPDX-License-Identifier: Apache-2.0
"""DiffAugment (Zhao et al. 2020, arXiv 2006.10738): color, translation and cutout of each image."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.augment.corruption import cut_out
from fastgan.augment.random_factors import draw_executed, draw_uniform


def diff_augment(x: Tensor, p: Tensor) -> Tensor:
    """Each of the three changes with probability p per image; p = 1 is the paper's.

    - Color: brightness plus U(-0.5, 0.5), saturation times U(0, 2), contrast times U(0.5, 1.5).
    - Translation: by up to an eighth of each side, in whole pixels; 0 comes in at the border.
    - Cutout: a rectangle of half the width and half the height is 0; its centre is anywhere.

    Args:
        x: images [N, C, H, W] in about [-1, 1].
        p: 0-dim, on x's device.

    Returns:
        [N, C, H, W].
    """
    n = x.shape[0]
    executed = draw_executed(n, p)

    def factor(low: float, high: float, neutral: float) -> Tensor:
        value = draw_uniform(executed, low, high, neutral=neutral)
        return value.to(x.dtype).view(n, 1, 1, 1)

    y = x + factor(-0.5, 0.5, 0.0)
    mean = y.mean(1, keepdim=True)
    y = (y - mean) * factor(0.0, 2.0, 1.0) + mean
    mean = y.mean((1, 2, 3), keepdim=True)
    y = (y - mean) * factor(0.5, 1.5, 1.0) + mean
    y = torch.where(executed.view(n, 1, 1, 1), y, x)  # x itself, bit by bit, where it is not
    return cut_out(_translate(y, p), p)


def _translate(x: Tensor, p: Tensor) -> Tensor:
    n, channels, height, width = x.shape
    executed = draw_executed(n, p)
    places = []
    reaches = [(side + 4) // 8 for side in (height, width)]
    for side, reach in zip((height, width), reaches, strict=True):
        drawn = draw_uniform(executed, 0.0, 2 * reach + 1, neutral=reach + 0.5)
        shift = drawn.floor().clamp(0, 2 * reach).long()  # 0 to 2·reach; reach is no shift
        places.append(torch.arange(side, device=x.device) + shift[:, None])  # [N, side]
    rows, columns = places
    padded = F.pad(x, (reaches[1], reaches[1], reaches[0], reaches[0]))
    index = rows[:, :, None] * padded.shape[3] + columns[:, None, :]  # [N, H, W]
    index = index.flatten(1)[:, None].expand(-1, channels, -1)
    return padded.flatten(2).gather(2, index).view(x.shape)
