"""`torch_utils.ops.conv2d_resample`."""

from collections.abc import Sequence

import torch

from fastgan import ops


def conv2d_resample(
    x: torch.Tensor,
    w: torch.Tensor,
    f: torch.Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    groups: int = 1,
    flip_weight: bool = True,
    flip_filter: bool = False,
) -> torch.Tensor:
    """`fastgan.ops.conv2d_resample`: flip_weight=True is torch's own sense, correlation."""
    return ops.conv2d_resample(x, w, f, up, down, padding, groups, flip_weight, flip_filter)
