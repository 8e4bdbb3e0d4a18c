# SPDX-License-Identifier: Apache-2.0
"""Metrics of translation between two domains, of held-out pictures.

cycle_l1_a        mean |A→B→A − a| over pixels in [-1, 1]; cycle_l1_b likewise
change_l1_a       mean |A→B − a|: how much the translation of a changes; change_l1_b likewise
kid_b             `kid_lite0` of `fastgan.metrics` between the translations A→B and real pictures of
                  b; kid_a likewise
kid_untranslated  the same between real pictures of a and of b: what a translator that changes
                  nothing has
accepted_b        share of the translations A→B that a classifier takes for pictures of b;
                  accepted_a likewise
accepted_real     share of real held-out pictures that it takes for pictures of their own domain

The classifier is a ridge regression on the features of `kid_lite0`, of training pictures.
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
from fastgan.modalities.translation.data import Unpaired
from fastgan.models.cycle_gan import DOMAINS

__all__ = [
    "DEFAULT",
    "HIGHER_IS_BETTER",
    "LOWER_IS_BETTER",
    "NAMES",
    "available",
    "fit_classifier",
    "make_evaluator",
]

NAMES = (
    "cycle_l1_a", "cycle_l1_b", "change_l1_a", "change_l1_b", "kid_a", "kid_b", "kid_untranslated",
    "accepted_a", "accepted_b", "accepted_real",
)  # fmt: skip
DEFAULT = ",".join(NAMES)
LOWER_IS_BETTER, HIGHER_IS_BETTER = (
    ("cycle_l1_a", "cycle_l1_b", "kid_a", "kid_b"),
    ("accepted_a", "accepted_b"),
)
_RIDGE = 0.1  # in mean squared norms of the features
_TRAINING = 200  # pictures of each domain for the classifier


def available() -> str | None:
    """Why the metrics can't be computed here; None if they can."""
    return metrics.available()


def fit_classifier(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """A linear classifier of two kinds of features, by ridge regression in float64.

    Args:
        a: [N_a, F].
        b: [N_b, F].

    Returns:
        (w [F], bias): f belongs to b where f·w + bias > 0, and else to a.
    """
    features = torch.cat([a, b]).double()
    wanted = torch.cat([-torch.ones(len(a)), torch.ones(len(b))]).double()
    mean = (a.double().mean(0) + b.double().mean(0)) / 2
    centred = features - mean
    products = centred @ centred.T  # [N, N]: fewer pictures than features
    ridge = _RIDGE * products.diagonal().mean() * torch.eye(len(products), dtype=torch.float64)
    w = centred.T @ torch.linalg.solve(products + ridge, wanted)
    return w, -(mean @ w)


class TranslationEvaluator(PartEvaluator):
    """Compares translated pictures with their originals and with real ones of their new domain.

    Args:
        dataset: the pictures, of which the held-out part is translated.
        options: as `fastgan.metrics.PartEvaluator`; num_real bounds the held-out pictures.
    """

    names = NAMES

    def __init__(self, dataset: Unpaired, **options: Any) -> None:
        super().__init__(dataset.held_out, **options)
        self._training = dataset
        self._extractor = EfficientNetLite0().to(self.device)
        self.extractor_name, self.resize = self._extractor.name, self._extractor.resize
        self._real: dict[str, Tensor] = {}

    def prepare(self) -> None:
        """Computes the features of the real pictures, and fits the classifier."""
        if self._real:
            return
        known = {d: self._features_of(self._training, d, _TRAINING) for d in DOMAINS}
        self._classifier = fit_classifier(known["a"], known["b"])
        self._real = {d: self._features_of(self.dataset, d, self.num_real) for d in DOMAINS}

    def _features_of(self, dataset: Unpaired, domain: str, n: int) -> Tensor:
        def part(first: int, n: int) -> Tensor:
            x = dataset.pictures(domain, np.arange(first, first + n))
            return self._extractor(x.to(self.device))

        return self.in_parts(part, min(n, len(dataset)))

    def features(self, x: Any, first: int) -> Tensor:
        """The distances and the features.

        Args:
            x: what G returned: a, b, cycle_a and cycle_b, each [n, 3, H, W].
            first: index of the first of them.

        Returns:
            float32 [n, 4 + 2F].
        """
        x = {name: t.detach().float().to(self.device) for name, t in x.items()}
        places = np.arange(first, first + len(x["a"])) % len(self.dataset)
        c = {d: self.dataset.pictures(d, places).to(self.device) for d in DOMAINS}
        pairs = [(f"cycle_{d}", d) for d in DOMAINS] + [("b", "a"), ("a", "b")]
        distances = [(x[made] - c[d]).abs().mean((1, 2, 3)) for made, d in pairs]
        return torch.cat([torch.stack(distances, 1), *(self._extractor(x[d]) for d in DOMAINS)], 1)

    def scores(self, names: Sequence[str], fake: Tensor) -> dict[str, float]:
        """The values of metrics.

        Args:
            names: metrics, of `NAMES`.
            fake: [num_fake, 4 + 2F].

        Returns:
            The value of each metric by name.
        """
        distances, *features = fake.split([4, *[(fake.shape[1] - 4) // 2] * 2], 1)
        made = dict(zip(DOMAINS, features, strict=True))
        values = dict(zip(NAMES[:4], distances.double().mean(0).tolist(), strict=True))
        pairs = {f"kid_{d}": (self._real[d], made[d]) for d in DOMAINS}
        pairs["kid_untranslated"] = self._real["a"], self._real["b"]
        values |= {n: kid(*pair, seed=self.seed) for n, pair in pairs.items() if n in names}
        values |= {f"accepted_{d}": self._accepted(made[d], d) for d in DOMAINS}
        real = [self._accepted(self._real[d], d) for d in DOMAINS]
        values["accepted_real"] = sum(real) / len(real)
        return values

    def _accepted(self, features: Tensor, domain: str) -> float:
        w, bias = self._classifier
        is_b = features.double() @ w + bias > 0
        return float((is_b if domain == "b" else ~is_b).double().mean())


def make_evaluator(dataset: Unpaired, **options: Any) -> TranslationEvaluator:
    """The evaluator of translations.

    Args:
        dataset: the pictures.
        options: num_real, batch, device, seed and ranks.
    """
    return TranslationEvaluator(dataset, **options)
