# SPDX-License-Identifier: Apache-2.0
"""Which metrics `fastgan evaluate` was asked for, and whether they can be computed here."""

from pathlib import Path
from typing import Any

import click

from fastgan._extras import require

__all__ = ["check_numbers", "check_pictures", "choose", "inception_weights"]


def choose(names: str | None, modality: str) -> list[str]:
    """The metrics to compute, all of which exist for the modality.

    Args:
        names: what --metrics was given, separated by commas; None: the modality's default.
        modality: of the run.

    Returns:
        Their names, each once; [] of "none".

    Raises:
        click.BadParameter: for a name that does not exist, or none at all.
        click.ClickException: a package is missing.
    """
    from fastgan.metrics import inception
    from fastgan.metrics.part_evaluator import no_such_metric
    from fastgan.modalities import load_modality

    metric = load_modality(modality).metric
    known = (*metric.NAMES, *getattr(metric, "EVALUATE_NAMES", ()))
    text = metric.DEFAULT if names is None else names
    chosen = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if [name.lower() for name in chosen] == ["none"]:
        return []
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise click.BadParameter(no_such_metric(unknown[0], known), param_hint="--metrics")
    if not chosen:
        raise click.BadParameter(
            f"expected some of {', '.join(known)}, or none, got {names!r}", param_hint="--metrics"
        )
    of_inception = set(inception.NAMES)
    if set(chosen) - of_inception and (reason := metric.available()) is not None:
        raise click.ClickException(reason)
    return chosen


def inception_weights(chosen: list[str], file: Path | None) -> Any:
    """The weights of Inception where a metric needs them, found before anything is loaded.

    Args:
        chosen: the metrics.
        file: what --inception was given.

    Returns:
        `fastgan.metrics.inception.Weights`, or None.

    Raises:
        click.BadParameter: --inception is of no use to the metrics, or no such file.
        click.ClickException: there are no weights; the message says where people get them.
    """
    from fastgan.metrics import inception

    asked = [name for name in chosen if name in inception.NAMES]
    if not asked and file is not None:
        raise click.BadParameter(
            f"is for the metrics {', '.join(inception.NAMES)}; name some with --metrics",
            param_hint="--inception",
        )
    if not asked:
        return None
    if "kid_inception" in asked:
        require("torchmetrics", "metrics")
    try:
        return inception.find_weights(file, needs_classes="inception_score" in asked)
    except (OSError, ImportError, ValueError) as error:
        if file is not None:
            raise click.BadParameter(str(error), param_hint="--inception") from error
        raise click.ClickException(f"{', '.join(asked)}: {error}") from error


def check_numbers(names: list[str], evaluator: Any, num: int) -> None:
    """Refuses too few samples before any is made.

    Args:
        names: metrics of the evaluator.
        evaluator: a `fastgan.metrics.PartEvaluator`.
        num: of --num.

    Raises:
        click.BadParameter: --num, or the data, is below what the metrics need.
    """
    least = evaluator.least_samples(names)
    for flag, got in (("--num", num), ("--data", evaluator.num_real)):
        if got < least:
            raise click.BadParameter(
                f"{', '.join(names)}: at least {least} generated and {least} real samples are "
                f"needed, got {got}; use more of them, or other --metrics",
                param_hint=flag,
            )


def check_pictures(pictures: list[str], modality: str, chosen: list[str]) -> None:
    """Refuses what cannot be written, and a command that asks for nothing.

    Args:
        pictures: of "spectrum" and "nearest", those that were asked for.
        modality: of the run.
        chosen: the metrics.

    Raises:
        click.UsageError: the run's samples are no images, or there is nothing to do.
        click.ClickException: a package is missing.
    """
    from fastgan import metrics

    if not pictures and not chosen:
        raise click.UsageError(
            "--metrics none leaves nothing to do; add --spectrum or --nearest, or name metrics"
        )
    if pictures and modality != "images":
        raise click.UsageError(f"--{pictures[0]} is for runs of images; this one is of {modality}")
    if "nearest" in pictures and (reason := metrics.available()) is not None:
        raise click.ClickException(reason)
