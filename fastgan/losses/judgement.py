# SPDX-License-Identifier: Apache-2.0
"""`Judgement`: what a discriminator says of its samples, whichever of three forms D returns.

D(x) -> logits                  a tensor, of any shape whose first dimension is N
D(x) -> [logits, ...]           a list of tensors: several discriminators in one module
D(x) -> (logits, features)      a tuple of exactly two: logits as above, and any tree of
                                tensors for losses that read more of D (feature matching)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Judged", "Judgement", "judgement_of"]


@dataclass(frozen=True)
class Judgement:
    """D's output in its normal form.

    Args:
        logits: one tensor [N, ...] for each discriminator, before any sigmoid.
        features: the second item of D's output, a tree of tensors; None where D gives none.
    """

    logits: list[Tensor]
    features: Any = None

    def detached(self) -> "Judgement":
        """The logits alone, without a graph.

        Returns:
            A new `Judgement` without features.
        """
        return Judgement([logits.detach() for logits in self.logits])


@dataclass(frozen=True)
class Judged:
    """What an objective may ask of D in one pass.

    Args:
        fake: of the generated samples.
        real: of the real samples; None for the generator's loss unless the objective's
            `needs_real_for_g` is True (it has no graph then).
        judge: judge(x, c) is the `Judgement` of further samples, which D sees as it sees all
            others: through the run's blur and augmentation.
    """

    fake: Judgement
    real: Judgement | None
    judge: Callable[..., Judgement]


def judgement_of(output: Any, function: str = "D") -> Judgement:
    """The normal form of D's output.

    Args:
        output: what D returned.
        function: the caller, for error messages.

    Returns:
        The `Judgement`.

    Raises:
        ValueError: for any other form than the three.
    """
    if isinstance(output, Tensor):
        return Judgement([output])
    logits, features = output, None
    if isinstance(output, tuple) and len(output) == 2:
        logits, features = output
    if isinstance(logits, Tensor):
        return Judgement([logits], features)
    is_list = isinstance(logits, list) and logits
    if is_list and all(isinstance(item, Tensor) for item in logits):
        return Judgement(list(logits), features)
    raise ValueError(
        f"{function}: D's output must be a tensor of logits, a list of such tensors (several "
        f"discriminators), or a tuple (logits, features), got {_words(output)}; return one of "
        "these from D.forward, such as (logits, features) for logits beside anything else"
    )


def sum_per_sample(logits: list[Tensor]) -> Tensor:
    """[N]: the sum of all logits of each sample, in one tensor that depends on all of them."""
    sums = [t.unsqueeze(-1).flatten(1).sum(1) for t in logits]
    total = sums[0]
    for more in sums[1:]:
        total = total + more
    return total


def total_of(logits: list[Tensor]) -> Tensor:
    """The sum of all logits, whose gradient a penalty takes."""
    total = logits[0].sum()
    for more in logits[1:]:
        total = total + more.sum()
    return total


def mean_of(logits: list[Tensor]) -> Tensor:
    """The mean over discriminators of the mean logit; of one discriminator its logits."""
    if len(logits) == 1:
        return logits[0]
    return torch.stack([t.detach().mean() for t in logits])


def _words(output: Any) -> str:
    if isinstance(output, tuple | list):
        items = ", ".join(type(item).__name__ for item in output)
        return f"a {type(output).__name__} of {len(output)} ({items})"
    return f"a {type(output).__name__}"
