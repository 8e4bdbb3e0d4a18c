# SPDX-License-Identifier: Apache-2.0
"""Some images of many whose means of simple statistics are near those of all."""

import numpy as np

_TRIALS = 20  # exchanges that are compared in each round
_ROUNDS = 400


def balanced_choice(images: np.ndarray, num: int, seed: int) -> list[int]:
    """Images that stand for all of them better than as many that are drawn blindly.

    What a network says of images differs much from image to image, and a mean over few of them by
    as much over the root of their number. Part of that follows from colour, contrast and detail:
    a choice whose means of these are near the means of all has a smaller error. It begins with
    a random choice and exchanges images for as long as that brings the means nearer.

    Args:
        images: uint8 [N, C, H, W].
        num: how many to choose, in [1, N].
        seed: of the choice.

    Returns:
        Their indices, ascending.
    """
    statistics = _statistics(images)
    random = np.random.RandomState(seed)
    order = random.permutation(len(images))
    chosen, rest = order[:num], order[num:]
    total = statistics[chosen].sum(0)
    for _ in range(_ROUNDS if len(rest) else 0):
        out, places = random.randint(num), random.randint(len(rest), size=_TRIALS)
        totals = total - statistics[chosen[out]] + statistics[rest[places]]
        sizes = np.square(totals).sum(1)
        best = int(sizes.argmin())
        if sizes[best] < np.square(total).sum():
            total, into = totals[best], places[best]
            chosen[out], rest[into] = rest[into], chosen[out]
    return sorted(chosen.tolist())


def _statistics(images: np.ndarray) -> np.ndarray:
    """[N, K] with means of 0: brightness, contrast and detail, and their squares."""
    x = images.astype(np.float64) / 127.5 - 1
    means, grey = x.mean((2, 3)), x.mean(1)
    parts = [means, x.std((2, 3)), means[:, 1:] - means[:, :1]]
    for axis in (1, 2):
        if grey.shape[axis] > 1:
            parts.append(np.abs(np.diff(grey, axis=axis)).mean((1, 2))[:, None])
    values = np.concatenate(parts, 1)
    values = np.concatenate([values, values**2], 1)
    return (values - values.mean(0)) / (values.std(0) + 1e-12)
