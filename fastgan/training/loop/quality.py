# SPDX-License-Identifier: Apache-2.0
"""Whether the samples of a run get worse, by a metric of its snapshots, beyond its uncertainty."""

from collections.abc import Sequence
from pathlib import Path

from fastgan.training.checkpoint import retention
from fastgan.training.checkpoint.retention import Score

__all__ = ["IN_A_ROW", "regression", "regression_of_run"]

IN_A_ROW = 3  # snapshots


def regression(scores: Sequence[Score], metric: str, *, lower_is_better: bool) -> str | None:
    """What is wrong, in words, where each of the newest snapshots is worse than the best one.

    Worse means that the two confidence intervals have no value in common: the best of many values
    is a lucky one, too.

    Args:
        scores: of the snapshots, from old to new; those without an interval do not count.
        metric: its name.
        lower_is_better: whether a lower value is better.

    Returns:
        Sentences; None where one of the newest IN_A_ROW is not worse, or there are fewer.
    """
    known = [score for score in scores if score.interval is not None]
    if len(known) <= IN_A_ROW:
        return None
    sign = 1 if lower_is_better else -1
    best = min(known, key=lambda score: sign * score.value)
    low, high = best.interval
    newest = known[-IN_A_ROW:]
    if any(s.interval[0] <= high and s.interval[1] >= low for s in newest):
        return None
    last = newest[-1]
    return (
        f"{metric} is {_shown(last)} and was {_shown(best)} at kimg {best.kimg:.1f}: the newest "
        f"{IN_A_ROW} snapshots are worse than that one by more than both confidence intervals; "
        "its checkpoint is kept"
    )


def regression_of_run(
    run_dir: Path, metrics: Sequence[str], written: Path | None = None
) -> str | None:
    """`regression` of the checkpoints of a run, by the metric that decides which one is the best.

    Args:
        run_dir: of the run.
        metrics: of the run; the first one counts.
        written: a checkpoint that may still be being written; default: none.

    Returns:
        As `regression`; None where there is no metric, or the checkpoints have another one.
    """
    metric, scores, is_lower = retention.scores(run_dir / "checkpoints", written)
    if not metrics or metric != metrics[0]:
        return None
    return regression(scores, metric, lower_is_better=is_lower)


def _shown(score: Score) -> str:
    return "{:.4g} [{:.4g}, {:.4g}]".format(score.value, *score.interval)
