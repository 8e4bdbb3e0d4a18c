# SPDX-License-Identifier: Apache-2.0
"""Reflect padding without limits: an image continues for ever as its mirror image.

The outer pixels are not repeated, as in NumPy's "reflect".

`torch.nn.functional.pad` refuses a padding as large as the image; small images need more.
"""

import torch
from torch import Tensor

from fastgan.ops.augment_positions import reflect


def reflect_pad(x: Tensor, pad: int) -> Tensor:
    """[N, C, H, W] → [N, C, H + 2·pad, W + 2·pad]."""
    height, width = x.shape[2:]
    rows = reflect(torch.arange(-pad, height + pad, device=x.device), height)
    columns = reflect(torch.arange(-pad, width + pad, device=x.device), width)
    return x.index_select(2, rows).index_select(3, columns)
