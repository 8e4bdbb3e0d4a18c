# SPDX-License-Identifier: Apache-2.0
"""`InceptionEvaluator`: FID and others of a generator against a data set."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fastgan.metrics.evaluator import Evaluator, Images
from fastgan.metrics.inception.extractor import NUM_FEATURES, Inception
from fastgan.metrics.inception.names import KINDS, NAMES
from fastgan.metrics.inception.score import inception_score
from fastgan.metrics.inception.weights import Weights

__all__ = ["InceptionEvaluator"]

_SCORE = "inception_score"


class InceptionEvaluator(Evaluator):
    """`fastgan.metrics.Evaluator` on Inception features, with the Inception score.

    Args:
        dataset: as that class takes it.
        weights: of Inception, of `find_weights`.
        names: the metrics that will be asked for, of `fastgan.metrics.inception.NAMES`.
        options: num_real, batch, device, seed, cache and ranks, as that class takes them.
    """

    names, kinds = NAMES, KINDS

    def __init__(
        self, dataset: Images, weights: Weights, names: Sequence[str] = NAMES, **options: Any
    ) -> None:
        self._needs_real = any(name != _SCORE for name in names)
        network = Inception(weights, has_probabilities=_SCORE in names)
        super().__init__(dataset, extractor=network, **options)

    def prepare(self) -> None:
        """Computes the features of the real images, unless the Inception score is all."""
        if self._needs_real:
            super().prepare()

    def scores(
        self, names: Sequence[str], fake: Tensor, real: Tensor | None = None
    ) -> dict[str, float]:
        """The values of metrics.

        Args:
            names: metrics, of those that the object was made for.
            fake: [num_fake, F], the features of all generated images.
            real: [n, F], those of a part of the real images; default: `real_features()`.

        Returns:
            The value of each metric by name.
        """
        rest = [name for name in names if name != _SCORE]
        part = None if real is None else real[:, :NUM_FEATURES]
        values = super().scores(rest, fake[:, :NUM_FEATURES], part) if rest else {}
        if _SCORE in names:
            values[_SCORE] = inception_score(fake[:, NUM_FEATURES:])
        return values

    def real_features(self) -> Tensor:
        """The features of the real images.

        Returns:
            float32 [num_real, 2048] on the CPU.
        """
        return super().real_features()[:, :NUM_FEATURES]
