# SPDX-License-Identifier: Apache-2.0
"""Metrics of images: `fastgan.metrics`, and whether images of classes are of the wanted class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan import environment, metrics
from fastgan.metrics import Evaluator, inception, perceptual_path
from fastgan.metrics.class_agreement import train_classifier
from fastgan.metrics.part_evaluator import PartFn
from fastgan.metrics.result import MetricResult

__all__ = ["DEFAULT", "EVALUATE_NAMES", "HIGHER_IS_BETTER", "LOWER_IS_BETTER", "NAMES", "available",
           "make_evaluator", "make_evaluators", "network_scores"]  # fmt: skip

DEFAULT = "kid_lite0"  # of `fastgan evaluate`
_AGREEMENT = ("class_agreement", "class_agreement_real")
NAMES = (*metrics.NAMES, *_AGREEMENT)
LOWER_IS_BETTER = ("kid_lite0", "fd_lite0")
HIGHER_IS_BETTER = (*sorted({*metrics.NAMES}.difference(LOWER_IS_BETTER)), "class_agreement")
EVALUATE_NAMES = (*inception.NAMES, *perceptual_path.NAMES)  # of `fastgan evaluate` alone


def available() -> str | None:
    """Why the metrics can't be computed here; None if they can."""
    return metrics.available()


class ImageEvaluator(Evaluator):
    """`fastgan.metrics.Evaluator` with two more metrics, of labels that are classes.

    "class_agreement" is the share of generated images that a classifier finds in the class that
    they were made for, and "class_agreement_real" its share of right answers on real images that it
    was not trained on (`fastgan.metrics.class_agreement`).
    """

    names = NAMES

    def __init__(self, dataset: Any, **options: Any) -> None:
        super().__init__(dataset, **options)
        self._asked: Sequence[str] = ()
        self._classifier: Any = None
        self._of_real = 0.0

    def evaluate_parts(
        self, names: Sequence[str], part_fn: PartFn, num_images: int
    ) -> dict[str, MetricResult]:
        """See `fastgan.metrics.PartEvaluator.evaluate_parts`."""
        self._asked = names
        return super().evaluate_parts(names, part_fn, num_images)

    def prepare(self) -> None:
        """Features of the real images, and the classifier, as far as the metrics need them."""
        if self._needs_features:
            super().prepare()
        if self._needs_classes and self._classifier is None:
            classes = self._classes(np.arange(len(self.dataset)))
            images = [self.dataset[i][0] for i in range(len(self.dataset))]
            self._classifier, self._of_real = train_classifier(
                torch.from_numpy(np.stack(images)).to(self.device),
                classes.to(self.device),
                num_classes=self.dataset.label_dim,
                seed=self.seed,
            )

    def features(self, x: Tensor, first: int) -> Tensor:
        """Features of images, and in the last column whether they are of the wanted class.

        Args:
            x: [n, C, H, W], uint8 or float in [-1, 1].
            first: index of the first one.

        Returns:
            [n, F].
        """
        columns = []
        if self._needs_features:
            columns.append(super().features(x, first))
        if self._needs_classes:
            wanted = self._classes(self.condition_indices(first, len(x)))
            named = self._classifier(x.to(self.device)).argmax(1)
            columns.append((named == wanted.to(self.device)).float()[:, None])
        return torch.cat(columns, 1)

    def scores(
        self, names: Sequence[str], fake: Tensor, real: Tensor | None = None
    ) -> dict[str, float]:
        """The values of metrics.

        Args:
            names: metrics, of `NAMES`.
            fake: [num_fake, F], what `features` gave of all generated images.
            real: [n, F], the features of the real images; default: `real_features()`.

        Returns:
            The value of each metric by name.
        """
        values = {}
        if self._needs_classes:
            values = dict(zip(_AGREEMENT, (fake[:, -1].mean().item(), self._of_real), strict=True))
            fake = fake[:, :-1]
        rest = [name for name in names if name not in _AGREEMENT]
        return values | (super().scores(rest, fake, real) if rest else {})

    @property
    def _needs_features(self) -> bool:
        return any(name not in _AGREEMENT for name in self._asked)

    @property
    def _needs_classes(self) -> bool:
        return any(name in _AGREEMENT for name in self._asked)

    def _classes(self, indices: np.ndarray) -> Tensor:
        """int64 [n]: the classes of images; ValueError where labels are not one-hot."""
        dim = getattr(self.dataset, "label_dim", 0)
        labels = [self.dataset.label(int(i)) for i in indices] if dim > 1 else []
        c = np.stack(labels) if labels else np.zeros((0, dim))
        is_one_hot = dim > 1 and ((c == 0) | (c == 1)).all() and (c.sum(1) == 1).all()
        if not is_one_hot:
            got = f"label vectors of {dim} numbers" if dim else "no labels"
            raise ValueError(
                "metrics: class_agreement needs images with classes, and a run that was trained "
                f"with them (--cond true), got {got}"
            )
        return torch.from_numpy(c.argmax(1))


def make_evaluator(dataset: Any, **options: Any) -> ImageEvaluator:
    """An `ImageEvaluator`.

    Args:
        dataset: the images; those that it holds out (`held_out`), where there are any, are used
            instead.
        options: num_real, batch, device, seed, cache and ranks. The cache is by default the folder
            "features" of the cache folder.
    """
    options = {"cache": environment.cache_dir() / "features"} | options
    return ImageEvaluator(getattr(dataset, "held_out", dataset), **options)


def make_evaluators(
    names: Sequence[str],
    dataset: Any,
    *,
    weights: inception.Weights | None = None,
    **options: Any,
) -> list[tuple[list[str], Evaluator]]:
    """The evaluators of metrics of samples, of `NAMES` and `EVALUATE_NAMES`.

    Args:
        names: the metrics.
        dataset: as `make_evaluator` takes it.
        weights: of Inception, where its metrics are among `names`.
        options: num_real, batch, device, seed and ranks.

    Returns:
        Pairs of names and the evaluator that computes them.
    """
    found: list[tuple[list[str], Evaluator]] = []
    if own := [name for name in names if name in NAMES]:
        found.append((own, make_evaluator(dataset, **options)))
    if of_inception := [name for name in names if name in inception.NAMES]:
        images = getattr(dataset, "held_out", dataset)
        evaluator = inception.InceptionEvaluator(
            images, weights, of_inception, cache=environment.cache_dir() / "features", **options
        )
        found.append((of_inception, evaluator))
    return found


def network_scores(
    names: Sequence[str], G: Any, conditions: Any, **options: Any
) -> dict[str, MetricResult]:
    """The metrics that look into a generator instead of comparing its samples with the data.

    Args:
        names: the metrics; those of another kind are left out.
        G: the generator, in eval mode.
        conditions: (first, n) → c of n samples, or None.
        options: num, batch, device, seed, latents, data and ranks of
            `fastgan.metrics.perceptual_path.path_length_results`.

    Returns:
        A result for each of these metrics.
    """
    own = [name for name in names if name in perceptual_path.NAMES]
    if not own:
        return {}
    return perceptual_path.path_length_results(own, G, conditions, **options)
