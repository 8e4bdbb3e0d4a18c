# SPDX-License-Identifier: Apache-2.0
"""`MetricResult`: a metric's value with what it depends on, and its line of metric-NAME.jsonl."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["NUM_SUBSETS", "MetricResult", "intervals", "is_of_usual_samples", "random_rows"]

NUM_SUBSETS = 20
_QUANTILE = 2.093  # of Student's t with 19 degrees of freedom: 95 %, both sides
_LEAST, _MOST = 40, 1000  # samples that halves are taken of; rows of a subset


@dataclass(frozen=True, kw_only=True)
class MetricResult:
    """A value with everything that it depends on; compare only results that agree in the rest.

    Args:
        name: name of the metric.
        value: its value.
        num_real: number of samples of the data set.
        num_fake: number of generated samples.
        extractor: name of the feature extractor.
        resize: how images are resized for it; "none" for other samples.
        seed: chose the real samples and the subsets.
        data: the data set.
        interval: (low, high), a confidence interval of 95 %; None: there is none.
        interval_method: how it was computed; None as `interval`.
    """

    name: str
    value: float
    num_real: int
    num_fake: int
    extractor: str
    resize: str
    seed: int = 0
    data: str = ""
    interval: tuple[float, float] | None = None
    interval_method: str | None = None

    def record(
        self,
        *,
        kimg: float,
        checkpoint: str,
        computed_by: str,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        label: int | Sequence[float] | None = None,
    ) -> dict[str, Any]:
        """The line of metric-NAME.jsonl, which has the same keys whoever computes the metric.

        Args:
            kimg: thousands of real samples that the network was trained with.
            checkpoint: name of its file.
            computed_by: "train" or "evaluate".
            truncation_psi: with which the samples were generated.
            truncation_cutoff: the number of layers that it was for; None: all.
            label: the class or the condition of all generated samples; None: those of the data.

        Returns:
            "metric" and "results" as NVIDIA's files have them, "interval" ([low, high] or None),
            "interval_method", "num_fake", "num_real", "extractor", "resize", "seed", "data",
            "truncation_psi", "truncation_cutoff", "label", "kimg", "checkpoint" and "computed_by";
            the writer adds "timestamp".
        """
        return {
            "metric": self.name,
            "results": {self.name: self.value},
            "interval": None if self.interval is None else list(self.interval),
            "interval_method": self.interval_method,
            "num_fake": self.num_fake,
            "num_real": self.num_real,
            "extractor": self.extractor,
            "resize": self.resize,
            "seed": self.seed,
            "data": self.data,
            "truncation_psi": truncation_psi,
            "truncation_cutoff": truncation_cutoff,
            "label": label,
            "kimg": kimg,
            "checkpoint": checkpoint,
            "computed_by": computed_by,
        }

    def __str__(self) -> str:
        low_high = "" if self.interval is None else " [{:.6g}, {:.6g}]".format(*self.interval)
        return f"{self.value:.6g}{low_high}"


def is_of_usual_samples(row: Mapping[str, Any]) -> bool:
    """Whether a line of metric-NAME.jsonl is of samples without truncation, of the data's labels.

    Args:
        row: the line; one that does not say is of such samples.

    Returns:
        True or False.
    """
    return row.get("truncation_psi", 1) == 1 and row.get("label") is None


def intervals(
    values: Mapping[str, float],
    subset_scores: Callable[[np.random.RandomState, float], Mapping[str, float]],
    *,
    num_samples: int,
    seed: int,
) -> dict[str, tuple[float, float] | None]:
    """Confidence intervals of 95 % from the values of 20 random halves of the samples.

    Halves are drawn without replacement, so that no sample is its own neighbour, as it would be in
    a bootstrap. The standard deviation of the values of halves, σ, is an estimate of that of the
    value of all samples (the delete-half jackknife: Shao and Wu 1989, Annals of Statistics 17(3)),
    and the interval is value ± 2.093 σ (Student's t, 19 degrees of freedom). Parts of 1000 rows
    stand for halves that are larger, and σ is scaled by √(b / (N - b)) for parts of b of N rows. A
    bias of the metric at this N, such as the Fréchet distance's, is in no interval.

    Args:
        values: of all samples.
        subset_scores: subset_scores(draws, share) → the values of a part of the samples, each
            sample being in it with probability share.
        num_samples: N, the smaller of the numbers of samples that parts are taken of.
        seed: of the draws.

    Returns:
        (low, high) by name. None: N is below 40, or all parts have one value.
    """
    if num_samples < _LEAST:
        return dict.fromkeys(values)
    share = min(num_samples // 2, _MOST) / num_samples
    draws = np.random.RandomState(seed)
    parts = [subset_scores(draws, share) for _ in range(NUM_SUBSETS)]
    found: dict[str, tuple[float, float] | None] = {}
    for name, value in values.items():
        sigma = np.std([part[name] for part in parts], ddof=1) * (share / (1 - share)) ** 0.5
        reach = float(_QUANTILE * sigma)
        found[name] = (value - reach, value + reach) if reach > 0 else None
    return found


def random_rows(draws: np.random.RandomState, n: int, share: float) -> np.ndarray:
    """int64 [round(n · share)]: different numbers below n."""
    return draws.permutation(n)[: round(n * share)]
