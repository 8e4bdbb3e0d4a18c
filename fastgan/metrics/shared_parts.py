# SPDX-License-Identifier: Apache-2.0
"""Rows of a matrix that several processes compute together, in parts of one size."""

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

__all__ = ["FeatureRanks", "OrderedDraws", "shared_rows"]

Drawn = TypeVar("Drawn")


class FeatureRanks(Protocol):
    """Processes that compute features together (`fastgan.training.distributed.ranks.Ranks`)."""

    rank: int
    world_size: int

    def all_gather_rows(self, x: Tensor) -> list[Tensor]:
        """The matrices [n, F] that all ranks pass, in the order of the ranks; n may differ."""


@torch.no_grad()
def shared_rows(
    own_fn: Callable[[Sequence[tuple[int, int]]], Tensor],
    count: int,
    *,
    batch: int,
    ranks: FeatureRanks | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Rows of a matrix, of which each rank computes every world_size-th part of `batch`.

    Args:
        own_fn: computes the parts of this rank, at least one: [(first, n), ...] → [sum of the n, F]
            on the CPU.
        count: number of rows.
        batch: rows of a part; the last part may be smaller.
        ranks: the processes, which all call it; None: this one alone.
        dtype: of what own_fn returns.

    Returns:
        [count, F] on the CPU, in order.

    Raises:
        ValueError: count is below 1.
    """
    if count < 1:
        raise ValueError(f"metrics: num_images must be at least 1, got {count}")
    rank, world_size = (0, 1) if ranks is None else (ranks.rank, ranks.world_size)
    parts = [(first, min(batch, count - first)) for first in range(0, count, batch)]
    own = parts[rank::world_size]
    # Where there are more ranks than parts, some have none.
    mine = own_fn(own) if own else torch.zeros(0, 0, dtype=dtype)
    if ranks is None:
        return mine
    every = [
        iter(rows.split([n for _, n in parts[r::world_size]]))
        for r, rows in enumerate(ranks.all_gather_rows(mine))
    ]
    return torch.cat([next(every[i % world_size]) for i in range(len(parts))])


class OrderedDraws(Generic[Drawn]):
    """Random numbers of parts, from one stream: equal however the parts are dealt out to ranks.

    A part that another rank computes is drawn, too, and thrown away.

    Args:
        draw: draw(n) → the numbers of the next n rows.
        batch: rows of every part but the last.
    """

    def __init__(self, draw: Callable[[int], Drawn], batch: int) -> None:
        self._draw, self._batch, self._next = draw, batch, 0

    def part(self, first: int, n: int) -> Drawn:
        """The numbers of rows first … first + n - 1; parts are asked for in rising order.

        Args:
            first: a multiple of the batch.
            n: at most the batch.

        Returns:
            What `draw(n)` returned.

        Raises:
            ValueError: a part before one that was asked for, or one that begins within a part.
        """
        while self._next < first:
            self._draw(self._batch)
            self._next += self._batch
        if self._next != first:
            raise ValueError(
                f"OrderedDraws: parts of {self._batch} rows must be asked for in rising order, got "
                f"one at {first} where {self._next} is next"
            )
        self._next += n
        return self._draw(n)
