"""Compute metrics of a generator against a data set: features once, then every metric."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from fastgan.metrics.features import EfficientNetLite0
from fastgan.metrics.frechet import frechet_distance
from fastgan.metrics.kid import kid
from fastgan.metrics.prdc import prdc

NAMES = (
    "kid_lite0",
    "fd_lite0",
    "precision_lite0",
    "recall_lite0",
    "density_lite0",
    "coverage_lite0",
)
SampleFn = Callable[[int], Tensor]
PartFn = Callable[[int, int], Tensor]  # (index of the first image, number of images)


class Images(Protocol):
    """The data set that an evaluator takes: [i] → (uint8 [C, H, W], label)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[np.ndarray, np.ndarray]: ...


class FeatureRanks(Protocol):
    """Processes that compute features together (`fastgan.training.distributed.ranks.Ranks`)."""

    rank: int
    world_size: int

    def all_gather_rows(self, x: Tensor) -> list[Tensor]:
        """The matrices [n, F] that all ranks pass, in the order of the ranks; n may differ."""


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """A value with everything that it depends on; compare only results that agree in the rest.

    Args:
        name: name of the metric.
        value: its value.
        num_real: number of images of the data set.
        num_fake: number of generated images.
        extractor: name of the feature extractor.
        resize: how images are resized for it.
    """

    name: str
    value: float
    num_real: int
    num_fake: int
    extractor: str
    resize: str


class Evaluator:
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
        ranks: processes that each compute the features of every world_size-th part of `batch`
            images, of the data set and of the generator; rank 0 has the values. Default: this
            process alone. Parts are the same for any number of ranks, and so are the values.

    Raises:
        ValueError: batch or num_real is below 1.
        ImportError: the packages of the default extractor are missing; the message names the extra.
    """

    def __init__(
        self,
        dataset: Images,
        *,
        num_real: int | None = None,
        batch: int = 64,
        device: torch.device | str = "cpu",
        extractor: nn.Module | None = None,
        seed: int = 0,
        ranks: FeatureRanks | None = None,
    ) -> None:
        for what, value in (("batch", batch), ("num_real", num_real)):
            if value is not None and value < 1:
                raise ValueError(f"Evaluator: {what} must be at least 1, got {value}")
        self.dataset, self.batch, self.seed, self.ranks = dataset, batch, seed, ranks
        self.num_real = min(num_real or len(dataset), len(dataset))
        self.device = torch.device(device)
        self.extractor = (EfficientNetLite0() if extractor is None else extractor).to(self.device)
        self._real: Tensor | None = None

    def real_features(self) -> Tensor:
        """The features of the real images, computed by the first call and then kept.

        With several ranks all of them make the first call.

        Returns:
            float32 [num_real, F] on the CPU.
        """
        if self._real is None:
            order = np.random.RandomState(self.seed).permutation(len(self.dataset))

            def images(first: int, n: int) -> Tensor:
                picked = order[first : first + n]
                return torch.from_numpy(np.stack([self.dataset[int(i)][0] for i in picked]))

            self._real = self._features(images, self.num_real)
        return self._real

    def evaluate(
        self, names: Sequence[str], sample_fn: SampleFn, num_images: int
    ) -> dict[str, MetricResult]:
        """Compute metrics of generated images.

        Args:
            names: metrics, of `NAMES`.
            sample_fn: sample_fn(n) returns n images [n, C, H, W], uint8 or float in [-1, 1], on any
                device; it is called with at most `batch`.
            num_images: number of generated images.

        Returns:
            A `MetricResult` for each name.

        Raises:
            ValueError: an unknown name, too few images for a metric, or images of a wrong number,
                shape or dtype, or with NaN or infinity.
        """
        return self.evaluate_parts(names, lambda first, n: sample_fn(n), num_images)

    def evaluate_parts(
        self, names: Sequence[str], part_fn: PartFn, num_images: int
    ) -> dict[str, MetricResult]:
        """The same of images that are asked for by their place; with several ranks all call it.

        Args:
            names: metrics, of `NAMES`.
            part_fn: part_fn(first, n) returns images first … first + n - 1, as the sample_fn of
                `evaluate` does. It must return the same ones on every rank that asks.
            num_images: number of generated images.

        Returns:
            A `MetricResult` for each name; on ranks other than 0 nothing.

        Raises:
            ValueError: as `evaluate`.
        """
        check_names(names)
        real = self.real_features()
        fake = self._features(part_fn, num_images)
        if self.ranks is not None and self.ranks.rank > 0:
            return {}
        values = _score(names, real, fake, self.seed)
        return {
            name: MetricResult(
                name=name,
                value=values[name],
                num_real=len(real),
                num_fake=len(fake),
                extractor=self.extractor.name,
                resize=self.extractor.resize,
            )
            for name in names
        }

    @torch.no_grad()
    def _features(self, part_fn: PartFn, num_images: int) -> Tensor:
        """float32 [num_images, F] on the CPU, in order, of parts that the ranks share."""
        if num_images < 1:
            raise ValueError(f"metrics: num_images must be at least 1, got {num_images}")
        ranks = self.ranks
        rank, world_size = (0, 1) if ranks is None else (ranks.rank, ranks.world_size)
        parts = [
            (first, min(self.batch, num_images - first))
            for first in range(0, num_images, self.batch)
        ]
        own = [torch.zeros(0, 0)]  # where there are more ranks than parts
        for first, n in parts[rank::world_size]:
            x = part_fn(first, n)
            if len(x) != n:
                raise ValueError(f"metrics: sample_fn({n}) returned {len(x)} images")
            own.append(self.extractor(x.to(self.device)).float().cpu())
        mine = torch.cat(own[1:] or own)
        if ranks is None:
            return mine
        every = [
            iter(rows.split([n for _, n in parts[r::world_size]]))
            for r, rows in enumerate(ranks.all_gather_rows(mine))
        ]
        return torch.cat([next(every[i % world_size]) for i in range(len(parts))])


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
    check_names(names)
    evaluator = Evaluator(dataset, num_real=num_images, batch=batch, device=device, seed=seed)
    results = evaluator.evaluate(names, sample_fn, num_images)
    return {name: result.value for name, result in results.items()}


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError naming the first metric that doesn't exist, and those that do."""
    for name in names:
        if name not in NAMES:
            raise ValueError(f"metrics: no metric {name!r}; choose from {', '.join(NAMES)}")


def _score(names: Sequence[str], real: Tensor, fake: Tensor, seed: int) -> dict[str, float]:
    values = {}
    if "kid_lite0" in names:
        values["kid_lite0"] = kid(real, fake, seed=seed)
    if "fd_lite0" in names:
        values["fd_lite0"] = frechet_distance(real, fake)
    if set(names) - set(values):
        four = prdc(real, fake)
        values |= {f"{key}_lite0": value for key, value in vars(four).items()}
    return values
