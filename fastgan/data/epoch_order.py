"""In which order a run sees its samples: a function of (seed, epoch), drawn by numpy alone.

RandomState, not Generator: numpy promises never to change its sequences, and a resumed run must see
the same order after numpy has been upgraded.
"""

import numpy as np

__all__ = ["indices_at", "seeded", "shuffled"]


def seeded(seed: int, stream: int, number: int) -> np.random.RandomState:
    """Random numbers of a run.

    Args:
        seed: of the run.
        stream: what they are for: 0 the order, 1 which images are mirrored.
        number: of the epoch, or of what they belong to.

    Returns:
        The generator at its beginning.
    """
    words = np.random.SeedSequence((seed, stream, number)).generate_state(8)
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
