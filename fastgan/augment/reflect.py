"""Reflect padding without limits: an image continues for ever as its mirror image.

The outer pixels are not repeated, as in NumPy's "reflect".

`torch.nn.functional.pad` refuses a padding as large as the image; small images need more.
"""

import torch
from torch import Tensor


def reflect(position: Tensor, size: int) -> Tensor:
    """Integer or real pixel positions folded into [0, size - 1], mirrored at the outer pixels."""
    if size == 1:
        return torch.zeros_like(position)
    period = 2 * (size - 1)
    folded = position.remainder(period)
    return torch.minimum(folded, period - folded)


def reflect_pad(x: Tensor, pad: int) -> Tensor:
    """[N, C, H, W] → [N, C, H + 2·pad, W + 2·pad]."""
    height, width = x.shape[2:]
    rows = reflect(torch.arange(-pad, height + pad, device=x.device), height)
    columns = reflect(torch.arange(-pad, width + pad, device=x.device), width)
    return x.index_select(2, rows).index_select(3, columns)
