# SPDX-License-Identifier: Apache-2.0
"""Sizes of a network from the names and shapes of its weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def count(weights: Weights, form: str) -> int:
    n = 0
    while form.format(n) in weights:
        n += 1
    return n


def sizes_of(weights: Weights, form: str, first: int = 4) -> list[int]:
    """The sizes of the blocks, from `first`, each twice the previous one; D's b4 is not a block."""
    size, found = first, []
    while form.format(size) in weights:
        found.append(size)
        size *= 2
    return found


def taps(f: Tensor, name: str) -> tuple[float, ...]:
    """The taps whose normalized outer product is `f`, as small whole numbers.

    ValueError with `name`, the buffer's, where there are none.
    """
    line = f.sum(1) if f.dim() == 2 else f
    if not f.is_floating_point() or not bool(f.isfinite().all()) or not bool(line.sum() > 0):
        raise ValueError(
            f"{name} must be finite floating-point taps with a positive sum, got {f.tolist()} "
            f"({str(f.dtype).removeprefix('torch.')}); the file is damaged: take another snapshot"
        )
    whole = line / line[line > 0].min()
    return tuple(float(t) for t in torch.where(whole.round().isclose(whole), whole.round(), line))


def width_fields(channels: Mapping[int, int]) -> dict[str, int]:
    """channel_base and channel_max that give these channels at these sizes."""
    most = max(channels.values())
    base = max(size * n for size, n in channels.items())
    return {"channel_base": base, "channel_max": most}
