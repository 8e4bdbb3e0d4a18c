"""Metrics of images: `fastgan.metrics`."""

from typing import Any

from fastgan import metrics
from fastgan.metrics import NAMES, Evaluator

__all__ = ["DEFAULT", "NAMES", "available", "make_evaluator"]

DEFAULT = "kid_lite0"  # of `fastgan evaluate`


def available() -> str | None:
    """Why the metrics can't be computed here; None if they can."""
    return metrics.available()


def make_evaluator(dataset: Any, **options: Any) -> Evaluator:
    """An `Evaluator` of images.

    Args:
        dataset: the images.
        options: num_real, batch, device, seed and ranks.
    """
    return Evaluator(dataset, **options)
