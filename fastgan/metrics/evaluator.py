# SPDX-License-Identifier: Apache-2.0
"""Compute metrics of a generator against a data set: features once, then every metric."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fastgan.metrics.feature_cache import FeatureCache
from fastgan.metrics.features import EfficientNetLite0
from fastgan.metrics.frechet import frechet_distance
from fastgan.metrics.given_features import check_features
from fastgan.metrics.kid import kid
from fastgan.metrics.part_evaluator import PartEvaluator, SampleFn, check_names
from fastgan.metrics.prdc import prdc
from fastgan.metrics.result import random_rows
from fastgan.metrics.shared_parts import FeatureRanks

_KINDS = ("kid", "fd", "precision", "recall", "density", "coverage")
NAMES = tuple(f"{kind}_lite0" for kind in _KINDS)
_NEIGHBOURS = 5  # k of `prdc`


class Images(Protocol):
    """The data set that an evaluator takes: [i] → (uint8 [C, H, W], label)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray]: ...


class Evaluator(PartEvaluator):
    """Keeps the features of a data set, so that later evaluations compute only the fakes.

    Args:
        dataset: images with their labels, [i] → (uint8 [C, H, W], label), such as
            fastgan.data.ImageDataset.
        num_real: number of real images to compare with, drawn by `seed`; None, or a number beyond
            the data set's size, is all.
        batch: images per call of the extractor.
        device: device of the extractor.
        extractor: module that maps images to [N, num_features], with str attributes `name` and
            `resize`; None is EfficientNetLite0.
        seed: chooses the real images and KID's subsets; equal fakes give equal values.
        cache: folder that keeps the features of real images (`FeatureCache`), each rank's in a
            file; None: none.
        ranks: processes that each compute the features of every world_size-th part of `batch`
            images, of the data set and of the generator; rank 0 has the values. Default: this
            process alone. Parts are the same for any number of ranks, and so are the values.

    Raises:
        ValueError: batch or num_real is below 1.
        ImportError: the packages of the default extractor are missing; the message names the extra.
    """

    names = NAMES
    kinds: Mapping[str, str] = dict(zip(NAMES, _KINDS, strict=True))  # what a name computes
    subsets_of = "generated and the real"

    def __init__(
        self,
        dataset: Images,
        *,
        num_real: int | None = None,
        batch: int = 64,
        device: torch.device | str = "cpu",
        extractor: nn.Module | None = None,
        seed: int = 0,
        cache: Path | None = None,
        ranks: FeatureRanks | None = None,
    ) -> None:
        super().__init__(
            dataset, num_real=num_real, batch=batch, device=device, seed=seed, ranks=ranks
        )
        self.extractor = (EfficientNetLite0() if extractor is None else extractor).to(self.device)
        self.extractor_name, self.resize = self.extractor.name, self.extractor.resize
        self._cache = None if cache is None else FeatureCache(cache)
        self._real: Tensor | None = None
        self._order = np.random.RandomState(seed).permutation(len(dataset))

    def real_features(self) -> Tensor:
        """The features of the real images, computed by the first call and then kept.

        With several ranks all of them make the first call.

        Returns:
            float32 [num_real, F] on the CPU.
        """
        if self._real is None:
            self._real = self.shared(self._real_parts, self.num_real)
        return self._real

    def _real_parts(self, parts: Sequence[tuple[int, int]]) -> Tensor:
        """The features of the real images in some parts, from the cache where they are there."""
        path = None
        if self._cache is not None:
            images = (self.dataset[i][0] for first, n in parts for i in self._drawn(first, n))
            path = self._cache.path(self.extractor, images)
        found = None if path is None else self._cache.read(path)
        if found is None:
            rows = []
            for first, n in parts:
                x = np.stack([self.dataset[i][0] for i in self._drawn(first, n)])
                rows.append(Evaluator.features(self, torch.from_numpy(x), first).float().cpu())
            found = torch.cat(rows)
            if path is not None:
                self._cache.write(path, found)
        return found

    def real_indices(self) -> np.ndarray:
        """The images of the data set whose features `real_features` gives.

        Returns:
            int64 [num_real], indices of `dataset`.
        """
        return self._order[: self.num_real]

    def _drawn(self, first: int, n: int) -> list[int]:
        return self._order[first : first + n].tolist()

    def condition_indices(self, first: int, n: int) -> np.ndarray:
        """The images whose labels generated images have: in the order in which real ones are drawn.

        Data sets are often sorted by class, so that the first ones are all of one.

        Args:
            first: index of the first generated image.
            n: their number.

        Returns:
            int64 [n], indices of the data set.
        """
        return self._order[super().condition_indices(first, n)]

    def least_samples(self, names: Sequence[str]) -> int:
        """How many real and how many generated images metrics need.

        Args:
            names: metrics, of `NAMES` or a subclass's.

        Returns:
            6 where a metric is of the 5 nearest neighbours, 2 for KID and the Fréchet distance.
        """
        asked = {self.kinds.get(name) for name in names}.intersection(_KINDS)
        if asked - {"kid", "fd"}:
            return _NEIGHBOURS + 1
        return 2 if asked else 1

    def prepare(self) -> None:
        """Computes the features of the real images."""
        self.real_features()

    def features(self, x: Tensor, first: int) -> Tensor:
        """Features of images.

        Args:
            x: [n, C, H, W], uint8 or float in [-1, 1].
            first: index of the first one; not used.

        Returns:
            [n, F].
        """
        return self.extractor(x.to(self.device))

    def scores(
        self, names: Sequence[str], fake: Tensor, real: Tensor | None = None
    ) -> dict[str, float]:
        """The values of metrics.

        Args:
            names: metrics, of `NAMES`.
            fake: [num_fake, F], the features of all generated images.
            real: [n, F], those of a part of the real images, of which KID draws one subset instead
                of 50; default: `real_features()`.

        Returns:
            The value of each metric by name.
        """
        kinds = {name: self.kinds[name] for name in names}
        if real is not None:
            return _score(kinds, real, fake, self.seed, subsets=1)
        return _score(kinds, self.real_features(), fake, self.seed)

    def num_subset_rows(self, num_fake: int) -> int:
        """The smaller of the numbers of images that `subset_scores` takes parts of.

        Args:
            num_fake: number of generated images.

        Returns:
            That number, or the number of real images.
        """
        return min(num_fake, self.num_real)

    def subset_scores(
        self, names: Sequence[str], fake: Tensor, draws: np.random.RandomState, share: float
    ) -> dict[str, float]:
        """The values of metrics of random parts of the generated and of the real images.

        Args:
            names: metrics, of `NAMES`.
            fake: [num_fake, F], the features of all generated images.
            draws: chooses the parts.
            share: of the images.

        Returns:
            The value of each metric by name.
        """
        chosen = [random_rows(draws, n, share) for n in (len(fake), self.num_real)]
        real = None if self._real is None else self._real[chosen[1]]
        return self.scores(names, fake[chosen[0]], real)


def compute(
    names: Sequence[str],
    sample_fn: SampleFn,
    dataset: Images,
    *,
    num_images: int,
    batch: int = 64,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> dict[str, float]:
    """Compute metrics once: `num_images` fakes against as many real images, or all there are.

    Use an `Evaluator` instead to evaluate several times against one data set, or to get records
    with extractor, resizing and numbers of images.

    Args:
        names: metrics, of `NAMES`.
        sample_fn: sample_fn(n) returns n images [n, C, H, W], uint8 or float in [-1, 1].
        dataset: images with their labels, [i] → (uint8 [C, H, W], label).
        num_images: number of generated images.
        batch: images per call of `sample_fn` and of the feature extractor.
        device: device of the feature extractor.
        seed: chooses the real images and KID's subsets.

    Returns:
        The value of each metric by name.

    Raises:
        ValueError: as `Evaluator.evaluate`.
        ImportError: as `Evaluator`.
    """
    check_names(names, NAMES)
    evaluator = Evaluator(dataset, num_real=num_images, batch=batch, device=device, seed=seed)
    results = evaluator.evaluate(names, sample_fn, num_images)
    return {name: result.value for name, result in results.items()}


def _score(
    kinds: Mapping[str, str], real: Tensor, fake: Tensor, seed: int, subsets: int = 50
) -> dict[str, float]:
    """Values by name, of metrics {name: kind}; a kind is "kid", "fd" or a field of `PRDC`."""
    asked = set(kinds.values())
    is_of_balls = bool(asked - {"kid", "fd"})
    check_features(real, fake, ", ".join(kinds), least=_NEIGHBOURS + 1 if is_of_balls else 2)
    values = {}
    if "kid" in asked:
        values["kid"] = kid(real, fake, subsets=subsets, seed=seed)
    if "fd" in asked:
        values["fd"] = frechet_distance(real, fake)
    if is_of_balls:
        values |= vars(prdc(real, fake, k=_NEIGHBOURS))
    return {name: values[kind] for name, kind in kinds.items()}
