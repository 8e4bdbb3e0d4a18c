# SPDX-License-Identifier: Apache-2.0
"""Nearest training images: whether a generator repeats what it was trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastgan.metrics.given_features import check_features

__all__ = ["Neighbours", "nearest"]

_BLOCK = 256  # rows whose distances are held at once


@dataclass(frozen=True)
class Neighbours:
    """The nearest real samples of each row.

    Args:
        distances: float64 [M, k], Euclidean, rising.
        indices: int64 [M, k], rows of the real samples.
    """

    distances: Tensor
    indices: Tensor


def nearest(real: Tensor, fake: Tensor | None = None, *, k: int = 1) -> Neighbours:
    """The k nearest real samples of each generated one, or of each real one among the others.

    Args:
        real: [N, F], features.
        fake: [M, F], features; None: the real ones, of which none is its own neighbour.
        k: number of neighbours.

    Returns:
        `Neighbours`.

    Raises:
        ValueError: other shapes, fewer real samples than neighbours, NaN or infinity.
    """
    is_among_others = fake is None
    fake = real if fake is None else fake
    check_features(real, fake, "nearest", least=1)
    if not 1 <= k <= len(real) - is_among_others:
        raise ValueError(
            f"nearest: k must be from 1 to {len(real) - is_among_others}, the number of other real "
            f"samples, got {k}"
        )
    origin = real[:1].double()
    real, fake = real.double() - origin, fake.double() - origin
    distances, indices = [], []
    for start in range(0, len(fake), _BLOCK):
        rows = fake[start : start + _BLOCK]
        d = torch.cdist(rows, real, compute_mode="donot_use_mm_for_euclid_dist")
        if is_among_others:
            d[torch.arange(len(rows)), torch.arange(len(rows)) + start] = torch.inf
        least = d.topk(k, dim=1, largest=False, sorted=True)
        distances.append(least.values)
        indices.append(least.indices)
    return Neighbours(torch.cat(distances), torch.cat(indices))
