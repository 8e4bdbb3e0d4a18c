# SPDX-License-Identifier: Apache-2.0
"""Metrics of clips: how things move, and how a frame looks.

motion_w1           Wasserstein-1 distance between the distributions of the mean |difference| of
                    neighbouring frames, of generated and of real clips; 0 is the best
motion_w1_static    the same of clips that repeat their first frame: all differences are 0
motion_w1_shuffled  the same of real clips whose frames are in a random order
motion_w1_constant  the same of clips that all move alike, by the median of the real differences;
                    no other constant is nearer
frame_kid           KID of the middle frames, on EfficientNet-Lite0 features (`fastgan.metrics`)

Samples that move as real ones have a motion_w1 below all three controls; noise that flickers is
below the first two. It compares one number of each pair of frames, so it does not see what moves.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan import metrics
from fastgan.metrics import PartEvaluator
from fastgan.metrics.features import EfficientNetLite0
from fastgan.metrics.kid import kid
from fastgan.modalities.video.data import Clips

__all__ = [
    "DEFAULT",
    "HIGHER_IS_BETTER",
    "LOWER_IS_BETTER",
    "NAMES",
    "available",
    "frame_differences",
    "make_evaluator",
    "wasserstein1",
]

NAMES = ("motion_w1", "motion_w1_static", "motion_w1_shuffled", "motion_w1_constant", "frame_kid")
DEFAULT = ",".join(NAMES)
LOWER_IS_BETTER, HIGHER_IS_BETTER = ("motion_w1", "frame_kid"), ()


def available() -> str | None:
    """Why the metrics can't be computed here; None if they can."""
    return metrics.available()


def frame_differences(x: Tensor) -> Tensor:
    """The mean |difference| of each two neighbouring frames.

    Args:
        x: clips [N, C, T, H, W] in [-1, 1].

    Returns:
        [N, T - 1], in [0, 2].
    """
    return x.diff(dim=2).abs().mean((1, 3, 4))


def wasserstein1(a: Tensor, b: Tensor) -> float:
    """The Wasserstein-1 distance of two sets of numbers, ∫ |F_a − F_b|.

    Args:
        a: of any shape.
        b: of any shape.

    Returns:
        The distance, in the unit of the numbers.
    """
    a, b = (np.sort(t.double().flatten().numpy()) for t in (a, b))
    points = np.sort(np.concatenate([a, b]))
    below_a, below_b = (np.searchsorted(t, points[:-1], side="right") / len(t) for t in (a, b))
    return float((np.abs(below_a - below_b) * np.diff(points)).sum())


class ClipEvaluator(PartEvaluator):
    """Compares generated clips with those of a data set.

    Args:
        dataset: the clips.
        options: as `fastgan.metrics.PartEvaluator`.
    """

    names = NAMES
    extractor_name = EfficientNetLite0.name
    resize = EfficientNetLite0.resize

    def __init__(self, dataset: Clips, **options: Any) -> None:
        super().__init__(dataset, **options)
        self._net = EfficientNetLite0().to(self.device)
        self._real: Tensor | None = None
        self._shuffled = torch.zeros(0)

    def features(self, x: Tensor, first: int) -> Tensor:
        """Differences of frames, and the features of the middle frame.

        Args:
            x: clips [n, 3, T, H, W].
            first: not used.

        Returns:
            float32 [n, T - 1 + F].
        """
        x = x.to(self.device).float().clamp(-1, 1)
        return torch.cat([frame_differences(x), self._net(x[:, :, x.shape[2] // 2])], 1)

    def _real_features(self) -> Tensor:
        if self._real is None:
            draws = np.random.RandomState(self.seed)
            order = draws.permutation(len(self.dataset))[: self.num_real]
            rows, shuffled = [], []
            for begin in range(0, len(order), self.batch):
                indices = order[begin : begin + self.batch]
                x = self.dataset.batch(indices, draws.rand(len(indices), 4))[0]
                rows.append(self.features(x, begin).cpu())
                places = torch.from_numpy(np.stack([draws.permutation(x.shape[2]) for _ in x]))
                mixed = x.gather(2, places[:, None, :, None, None].expand_as(x))
                shuffled.append(frame_differences(mixed))
            self._real, self._shuffled = torch.cat(rows), torch.cat(shuffled)
        return self._real

    def scores(self, names: Sequence[str], fake: Tensor) -> dict[str, float]:
        """The values of all metrics.

        Args:
            names: not used: all are computed.
            fake: [num_fake, T - 1 + F], the features of all generated clips.

        Returns:
            The value of each metric by name.
        """
        real, t = self._real_features(), self.dataset.frames - 1
        moved = real[:, :t]
        return {
            "motion_w1": wasserstein1(fake[:, :t], moved),
            "motion_w1_static": wasserstein1(torch.zeros_like(moved), moved),
            "motion_w1_shuffled": wasserstein1(self._shuffled, moved),
            "motion_w1_constant": wasserstein1(moved.median().expand_as(moved), moved),
            "frame_kid": kid(real[:, t:], fake[:, t:], seed=self.seed),
        }


def make_evaluator(dataset: Clips, **options: Any) -> ClipEvaluator:
    """The evaluator of clips.

    Args:
        dataset: the clips.
        options: num_real, batch, device, seed and ranks.
    """
    return ClipEvaluator(dataset, **options)
