# SPDX-License-Identifier: Apache-2.0
"""In which order a run sees its samples: a function of (seed, epoch), drawn by numpy alone.

An epoch shows each sample once, or, where classes are balanced, those of rare classes more often.

RandomState, not Generator: numpy promises never to change its sequences, and a resumed run must see
the same order after numpy has been upgraded.
"""

from functools import partial

import numpy as np

__all__ = ["Balanced", "indices_at", "seeded", "shuffled"]


def seeded(seed: int, stream: int, *numbers: int) -> np.random.RandomState:
    """Random numbers of a run.

    Args:
        seed: of the run.
        stream: what they are for: 0 the order, 1 which images are mirrored, 2 the order within a
            class.
        numbers: of the epoch, or of what they belong to.

    Returns:
        The generator at its beginning.
    """
    words = np.random.SeedSequence((seed, stream, *numbers)).generate_state(8)
    return np.random.RandomState(words)


def shuffled(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of one epoch.

    Args:
        seed: of the run.
        epoch: its number, from 0.
        count: the number of samples.

    Returns:
        int64 [count], each sample once.
    """
    return seeded(seed, 0, epoch).permutation(count).astype(np.int64)


def indices_at(position: int, batch: int, count: int, order) -> list[tuple[int, np.ndarray]]:
    """Which samples follow the first `position` ones.

    Args:
        position: number of samples that were shown before.
        batch: how many follow; a batch may cross an epoch's end.
        count: of the data set.
        order: epoch → int64 [count], such as `shuffled` with a seed.

    Returns:
        (epoch, int64 indices) in turn, `batch` indices together.
    """
    parts, left = [], batch
    while left > 0:
        epoch, offset = divmod(position, count)
        part = order(epoch)[offset : offset + left]
        parts.append((epoch, part))
        position, left = position + len(part), left - len(part)
    return parts


class Balanced:
    """Epochs in which rare classes are shown more often than the data set has them.

    An epoch of N places has a share of class k in proportion to n_k^(1 - balance), where n_k is the
    number of its samples: 0 gives the shares of the data set, 1 equal ones, 0.5 those of the square
    roots. A class goes through all its samples, in a new order each time, before one is shown
    again.

    Args:
        seed: of the run.
        classes: int64 [N], the class of each sample, >= 0.
        balance: from 0 to 1.

    Attributes:
        quotas: int64 [K], the places of each class in an epoch, N together.

    Raises:
        ValueError: balance is out of range.
    """

    def __init__(self, seed: int, classes: np.ndarray, balance: float) -> None:
        if not 0 <= balance <= 1:
            raise ValueError(f"Balanced: balance must be from 0 to 1, got {balance}")
        self.seed = seed
        self._members = [np.flatnonzero(classes == k) for k in range(int(classes.max()) + 1)]
        counts = np.array([len(members) for members in self._members])
        shares = np.zeros(len(counts))
        shares[counts > 0] = counts[counts > 0] ** (1.0 - balance)
        ends = np.floor(np.cumsum(shares) / shares.sum() * len(classes) + 0.5).astype(np.int64)
        self.quotas = np.diff(ends, prepend=0)

    def __call__(self, epoch: int) -> np.ndarray:
        """The order of one epoch.

        Args:
            epoch: its number, from 0.

        Returns:
            int64 [N], positions of samples.
        """
        chosen = []
        for k, (members, quota) in enumerate(zip(self._members, self.quotas.tolist(), strict=True)):
            order = partial(self._round, k)
            parts = indices_at(epoch * quota, quota, len(members), order) if quota else []
            chosen += [members[part] for _, part in parts]
        together = np.concatenate(chosen)
        return together[shuffled(self.seed, epoch, len(together))]

    def _round(self, k: int, number: int) -> np.ndarray:
        """The order in which class k shows its samples for the (number + 1)-th time."""
        count = len(self._members[k])
        return seeded(self.seed, 2, k, number).permutation(count).astype(np.int64)
