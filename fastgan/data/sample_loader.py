# SPDX-License-Identifier: Apache-2.0
"""Batches of samples of any kind, in the order in which `BatchLoader` shows images."""

from functools import lru_cache, partial
from typing import Any, Protocol

import numpy as np

from fastgan.data.epoch_order import indices_at, shuffled

__all__ = ["SampleDataset", "SampleLoader", "sample_uniform"]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_NUMBERS = 4


class SampleDataset(Protocol):
    """The data set that a `SampleLoader` takes."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray, uniform: np.ndarray, /) -> tuple[Any, Any]:
        """Some samples and their conditions: a pure function of the arguments.

        Args:
            indices: int64 [B], positions of the samples.
            uniform: float64 [B, 4] in [0, 1): random numbers of each sample, other ones whenever it
                is shown, for the place of a crop.

        Returns:
            (x, c): trees (dict, tuple, list) of tensors [B, ...] on the CPU; c None without
            conditions.
        """


class SampleLoader:
    """Shuffled batches of a data set of N samples.

    Positions e·N … e·N + N - 1 show each sample exactly once, in an order drawn from (seed, e), as
    with `BatchLoader`. A batch may cross an epoch's end.

    Args:
        dataset: the samples.
        batch: samples per batch.
        seed: seed of the order and of the samples' random numbers.
        part: (r, n), for rank r of n: only rows r, r + n, … of each batch are read and returned; n
            must divide batch.

    Attributes:
        why: where the samples are kept, in a line for the log; empty.

    Raises:
        ValueError: an argument is out of range.
    """

    why = ""

    def __init__(
        self, dataset: SampleDataset, batch: int, *, seed: int, part: tuple[int, int] = (0, 1)
    ) -> None:
        if batch < 1 or seed < 0:
            raise ValueError(
                f"SampleLoader: expected batch >= 1 and seed >= 0, got {batch} and {seed}"
            )
        rank, ranks = part
        if not 0 <= rank < ranks or batch % ranks:
            raise ValueError(
                f"SampleLoader: part must be (r, n) with 0 <= r < n and n a divisor of batch "
                f"{batch}, got {part}"
            )
        if len(dataset) < 1:
            raise ValueError("SampleLoader: the data set holds no sample; pass one that does")
        self.dataset, self.batch, self.seed = dataset, batch, seed
        self._rows = slice(rank, None, ranks)
        self._order = lru_cache(maxsize=2)(partial(shuffled, seed, count=len(dataset)))

    def batch_at(self, position: int) -> tuple[Any, Any]:
        """The batch that follows the first `position` samples.

        Equal positions give equal batches, in whatever order they are requested.

        Args:
            position: number of samples that were shown before.

        Returns:
            (x, c) of the data set's `batch`, of `batch` samples or the `part` of them.

        Raises:
            ValueError: position is negative.
        """
        if position < 0:
            raise ValueError(f"SampleLoader: position must be at least 0, got {position}")
        parts = indices_at(position, self.batch, len(self.dataset), self._order)
        indices = np.concatenate([part for _, part in parts])[self._rows]
        places = np.arange(position, position + self.batch)[self._rows]
        return self.dataset.batch(indices, sample_uniform(self.seed, places))

    @property
    def whole(self) -> "SampleLoader":
        """The same batches without `part`."""
        return SampleLoader(self.dataset, self.batch, seed=self.seed)


def sample_uniform(seed: int, places: np.ndarray) -> np.ndarray:
    """Random numbers of samples by their place: SplitMix64 (Steele, Lea and Flood 2014).

    Args:
        seed: any whole number >= 0.
        places: int64 [B], of each sample in the stream of samples.

    Returns:
        float64 [B, 4] in [0, 1).
    """
    start = _mix(np.full(1, seed, dtype=np.uint64) + _GAMMA)
    words = places.astype(np.uint64)[:, None] * np.uint64(_NUMBERS)
    words = start + (words + np.arange(1, _NUMBERS + 1, dtype=np.uint64)) * _GAMMA
    return (_mix(words) >> np.uint64(11)) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
