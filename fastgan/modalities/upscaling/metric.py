# SPDX-License-Identifier: Apache-2.0
"""Metrics of super-resolution, of held-out pictures.

psnr           peak signal-to-noise ratio in dB: the mean over pictures of 10 log10(4 / mean square
               error), as pixels are in [-1, 1]; the generated ones are clipped to this range
psnr_bicubic   the same of the bicubic enlargement
kid            `kid_lite0` of `fastgan.metrics`: distance of the generated pictures from the real
kid_bicubic    the same of the bicubic enlargements
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
from fastgan.modalities.upscaling.data import Pairs
from fastgan.models.super_resolution import enlarge

__all__ = [
    "DEFAULT",
    "HIGHER_IS_BETTER",
    "LOWER_IS_BETTER",
    "NAMES",
    "available",
    "make_evaluator",
    "psnr",
]

NAMES = ("psnr", "psnr_bicubic", "kid", "kid_bicubic")
DEFAULT = ",".join(NAMES)
LOWER_IS_BETTER, HIGHER_IS_BETTER = ("kid",), ("psnr",)


def available() -> str | None:
    """Why the metrics can't be computed here; None if they can."""
    return metrics.available()


def psnr(x: Tensor, real: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of each picture, in dB.

    Args:
        x: [N, C, H, W], clipped to [-1, 1].
        real: likewise.

    Returns:
        [N], at most 100.
    """
    error = (x.clamp(-1, 1) - real).square().mean((1, 2, 3))
    return 10 * (4 / error.clamp_min(4e-10)).log10()


class PairEvaluator(PartEvaluator):
    """Compares generated pictures with the held-out ones that they were made of.

    Args:
        dataset: the pairs, of which the held-out part is used.
        options: as `fastgan.metrics.PartEvaluator`; num_real bounds the held-out pictures.
    """

    names = NAMES

    def __init__(self, dataset: Pairs, **options: Any) -> None:
        super().__init__(dataset.held_out, **options)
        self._extractor = EfficientNetLite0().to(self.device)
        self.extractor_name, self.resize = self._extractor.name, self._extractor.resize
        self._real: Tensor | None = None
        self._bicubic: Tensor | None = None

    def prepare(self) -> None:
        """Computes the features of the real pictures and of their bicubic enlargements."""
        if self._real is None:
            self._real = self.in_parts(self._real_part, self.num_real)
            self._bicubic = self.in_parts(
                lambda first, n: self.features(enlarge(self._pairs(first, n)[1]), first),
                self.num_real,
            )

    def _pairs(self, first: int, n: int) -> tuple[Tensor, Tensor]:
        indices = np.arange(first, first + n) % len(self.dataset)
        return self.dataset.batch(indices, np.zeros((n, 4)))

    def _real_part(self, first: int, n: int) -> Tensor:
        return self._extractor(self._pairs(first, n)[0].to(self.device))

    def features(self, x: Tensor, first: int) -> Tensor:
        """The ratio and the features.

        Args:
            x: pictures [n, 3, H, W].
            first: index of the first of them.

        Returns:
            float32 [n, 1 + F].
        """
        x = x.detach().float().to(self.device)
        ratio = psnr(x, self._pairs(first, len(x))[0].to(self.device))
        return torch.cat([ratio[:, None], self._extractor(x)], 1)

    def scores(self, names: Sequence[str], fake: Tensor) -> dict[str, float]:
        """The values of metrics.

        Args:
            names: metrics, of `NAMES`.
            fake: [num_fake, 1 + F].

        Returns:
            The value of each metric by name.
        """
        values = {}
        for suffix, found in (("", fake), ("_bicubic", self._bicubic)):
            values[f"psnr{suffix}"] = float(found[:, 0].double().mean())
            if f"kid{suffix}" in names:
                values[f"kid{suffix}"] = kid(self._real, found[:, 1:], seed=self.seed)
        return values


def make_evaluator(dataset: Pairs, **options: Any) -> PairEvaluator:
    """The evaluator of super-resolution.

    Args:
        dataset: the pairs.
        options: num_real, batch, device, seed and ranks.
    """
    return PairEvaluator(dataset, **options)
