# SPDX-License-Identifier: Apache-2.0
"""`PartEvaluator`: metrics of samples that are made in parts, which several processes may share."""

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan._trees import num_rows
from fastgan.metrics.given_features import check_finite
from fastgan.metrics.result import NUM_SUBSETS, MetricResult, intervals, random_rows
from fastgan.metrics.shared_parts import FeatureRanks, shared_rows

__all__ = ["PartEvaluator", "PartFn", "SampleFn", "check_names", "no_such_metric"]

SampleFn = Callable[[int], Any]
PartFn = Callable[[int, int], Any]  # (index of the first sample, number of samples)


class PartEvaluator:
    """Base class of evaluators: keeps what is known of the data set, and computes the fakes.

    A subclass sets `names` and, where it has them, `extractor_name` and `resize`; it has
    `features(x, first)`, what is kept of generated samples, and `scores(names, fake)`.

    Args:
        dataset: the real samples, whose conditions the generated ones have, in its order.
        num_real: number of real samples to compare with; None, or a number beyond the data set's
            size, is all.
        batch: samples that are computed at once.
        device: where features are computed.
        seed: chooses the real samples; equal fakes give equal values.
        ranks: processes that each compute the features of every world_size-th part of `batch`
            samples; rank 0 has the values. Default: this process alone. Parts are the same for any
            number of ranks, and so are the values.

    Raises:
        ValueError: batch or num_real is below 1.
    """

    names: tuple[str, ...] = ()
    extractor_name = "none"
    resize = "none"
    subsets_of = "generated"  # the samples that intervals are taken over

    def __init__(
        self,
        dataset: Any,
        *,
        num_real: int | None = None,
        batch: int = 64,
        device: torch.device | str = "cpu",
        seed: int = 0,
        ranks: FeatureRanks | None = None,
    ) -> None:
        for what, value in (("batch", batch), ("num_real", num_real)):
            if value is not None and value < 1:
                raise ValueError(f"Evaluator: {what} must be at least 1, got {value}")
        self.dataset, self.batch, self.seed, self.ranks = dataset, batch, seed, ranks
        self.num_real = min(num_real or len(dataset), len(dataset))
        self.device = torch.device(device)

    def features(self, x: Any, first: int) -> Tensor:
        """What is kept of n generated samples.

        Args:
            x: what G returned, a tree of tensors [n, ...].
            first: index of the first of them. Sample i was made under the condition of sample
                `condition_indices(i, 1)` of `dataset`.

        Returns:
            [n, F], float32.
        """
        raise NotImplementedError

    def condition_indices(self, first: int, n: int) -> np.ndarray:
        """The samples of the data set whose conditions generated samples have: in turn.

        Args:
            first: index of the first generated sample.
            n: their number.

        Returns:
            int64 [n], indices of `dataset`.
        """
        return (np.arange(n) + first) % len(self.dataset)

    def properties(self, fake: Tensor) -> Any:
        """What `scores` takes of all generated samples: here their features.

        It is called once, and `scores` for all samples and for 20 halves of them. What takes long
        for each sample, and is of that sample alone, belongs here.

        Args:
            fake: [num_fake, F], the features of all generated samples.

        Returns:
            A tensor or an array, one row for each sample.
        """
        return fake

    def scores(self, names: Sequence[str], fake: Any) -> dict[str, float]:
        """The values of metrics.

        Args:
            names: metrics, of `names`.
            fake: rows of what `properties` returned.

        Returns:
            The value of each metric by name.
        """
        raise NotImplementedError

    def least_samples(self, names: Sequence[str]) -> int:
        """How many real and how many generated samples metrics need.

        Args:
            names: metrics, of `names`.

        Returns:
            That number, of each kind; here 1.
        """
        return 1

    def check_numbers(self, names: Sequence[str], num_images: int) -> None:
        """Refuse too few samples before any is made.

        Args:
            names: metrics, of `names`.
            num_images: number of generated samples.

        Raises:
            ValueError: there are fewer real or generated samples than `least_samples`.
        """
        least = self.least_samples(names)
        if min(self.num_real, num_images) < least:
            raise ValueError(
                f"{', '.join(names)}: at least {least} real and {least} generated samples are "
                f"needed, got {self.num_real} real and {num_images} generated; use more of them, "
                "or other metrics"
            )

    def evaluate(
        self, names: Sequence[str], sample_fn: SampleFn, num_images: int
    ) -> dict[str, MetricResult]:
        """Compute metrics of generated samples.

        Args:
            names: metrics, of `names`.
            sample_fn: sample_fn(n) returns n samples [n, ...], images as uint8 or float in [-1, 1],
                on any device; it is called with at most `batch`.
            num_images: number of generated samples.

        Returns:
            A `MetricResult` for each name.

        Raises:
            ValueError: an unknown name, too few samples for a metric, or samples of a wrong number,
                shape or dtype, or with NaN or infinity.
        """
        return self.evaluate_parts(names, lambda first, n: sample_fn(n), num_images)

    def evaluate_parts(
        self, names: Sequence[str], part_fn: PartFn, num_images: int
    ) -> dict[str, MetricResult]:
        """The same of samples that are asked for by their place; with several ranks all call it.

        Args:
            names: metrics, of `names`.
            part_fn: part_fn(first, n) returns samples first … first + n - 1, as the sample_fn of
                `evaluate` does. It must return the same ones on every rank that asks.
            num_images: number of generated samples.

        Returns:
            A `MetricResult` for each name; on ranks other than 0 nothing.

        Raises:
            ValueError: as `evaluate`.
        """
        check_names(names, self.names)
        if num_images >= 1:  # `shared_rows` names what is below
            self.check_numbers(names, num_images)
        self.prepare()
        fake = self.in_parts(lambda first, n: self._part(part_fn, first, n), num_images)
        if self.ranks is not None and self.ranks.rank > 0:
            return {}
        check_finite(fake, ", ".join(names), "generated")
        known = self.properties(fake)
        scores = self.scores(names, known)
        values = {name: scores[name] for name in names}
        reach = intervals(
            values,
            lambda draws, share: self.subset_scores(names, known, draws, share),
            num_samples=self.num_subset_rows(len(fake)),
            seed=self.seed,
        )
        how = f"95 %, {NUM_SUBSETS} random halves of the {self.subsets_of} samples"
        return {
            name: MetricResult(
                name=name,
                value=value,
                num_real=self.num_real,
                num_fake=len(fake),
                extractor=self.extractor_name,
                resize=self.resize,
                seed=self.seed,
                data=str(getattr(self.dataset, "path", "")),
                interval=reach[name],
                interval_method=None if reach[name] is None else how,
            )
            for name, value in values.items()
        }

    def num_subset_rows(self, num_fake: int) -> int:
        """The smaller of the numbers of samples that `subset_scores` takes parts of.

        Args:
            num_fake: number of generated samples.

        Returns:
            That number: here there is no other.
        """
        return num_fake

    def subset_scores(
        self, names: Sequence[str], fake: Any, draws: np.random.RandomState, share: float
    ) -> dict[str, float]:
        """The values of metrics of a random part of the samples, for their intervals.

        Args:
            names: metrics, of `names`.
            fake: what `properties` returned.
            draws: chooses the part.
            share: of the samples.

        Returns:
            The value of each metric by name. Here all real samples are kept.
        """
        return self.scores(names, fake[random_rows(draws, len(fake), share)])

    def prepare(self) -> None:
        """Computes what is needed of the data set; with several ranks all call it."""

    def _part(self, part_fn: PartFn, first: int, n: int) -> Tensor:
        x = part_fn(first, n)
        count = num_rows(x)
        if count != n:
            raise ValueError(f"metrics: sample_fn({n}) returned {count} images")
        return self.features(x, first)

    def in_parts(self, part_fn: Callable[[int, int], Tensor], num_images: int) -> Tensor:
        """Rows of a matrix in parts of `batch`, which the ranks share.

        Args:
            part_fn: (first, n) → [n, F].
            num_images: number of rows.

        Returns:
            float32 [num_images, F] on the CPU, in order.

        Raises:
            ValueError: num_images is below 1.
        """
        return self.shared(
            lambda parts: torch.cat([part_fn(first, n).float().cpu() for first, n in parts]),
            num_images,
        )

    def shared(
        self, own_fn: Callable[[Sequence[tuple[int, int]]], Tensor], num_images: int
    ) -> Tensor:
        """Rows of a matrix, in parts of `batch` that the ranks share.

        Args:
            own_fn: as of `fastgan.metrics.shared_parts.shared_rows`.
            num_images: number of rows.

        Returns:
            float32 [num_images, F] on the CPU, in order.

        Raises:
            ValueError: num_images is below 1.
        """
        return shared_rows(own_fn, num_images, batch=self.batch, ranks=self.ranks)


def no_such_metric(name: str, known: Sequence[str]) -> str:
    """Words for an error: `name` does not exist, and which of `known` measures the most like it."""
    measures = {other.partition("_")[0]: other for other in reversed(known)}
    asked = re.match("[a-z]*", name.lower()).group()
    near = difflib.get_close_matches(asked, measures, 1)
    near += [word for word in measures if asked and word.startswith(asked)]
    nearest = f"the nearest is {measures[near[0]]}; " if near else ""
    return f"there is no metric {name!r}; {nearest}choose from {', '.join(known)}"


def check_names(names: Sequence[str], known: Sequence[str]) -> None:
    """Raise ValueError naming the first metric that doesn't exist, and those that do."""
    for name in names:
        if name not in known:
            raise ValueError(f"metrics: {no_such_metric(name, known)}")
