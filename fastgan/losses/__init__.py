# SPDX-License-Identifier: Apache-2.0
"""Objectives of D and G, and the regularisers that go with them.

`load_objective` finds an adversarial objective of `fastgan.losses.adversarial` by its name, with
further terms of `fastgan.losses.terms`; `Objective` is the class to subclass for losses of one's
own. Penalties are in `fastgan.losses.gradient_penalty` (R1, R2, WGAN-GP, DRAGAN) and
`fastgan.losses.path_length`.
"""

from typing import Any

from fastgan.losses.adversarial import OBJECTIVES, Adversarial
from fastgan.losses.judgement import Judged, Judgement
from fastgan.losses.objective import Objective

__all__ = ["Judged", "Judgement", "Objective", "load_objective", "objectives"]


def objectives() -> list[str]:
    """Names that `load_objective` takes, sorted.

    Returns:
        The keys of `fastgan.losses.adversarial.OBJECTIVES`.
    """
    return sorted(OBJECTIVES)


def load_objective(name: str, **terms: Any) -> Adversarial:
    """The objective called `name`.

        objective = load_objective("non_saturating", feature_matching=10.0)
        d_loss = objective.discriminator_loss(D(real), D(fake.detach()))

    Args:
        name: one of `objectives()`.
        **terms: further losses by their names, each a weight or a dict of arguments
            (`fastgan.losses.terms`).

    Returns:
        An `Objective`, which also has the pure functions of logits
        `discriminator_loss(real_logits, fake_logits)` and
        `generator_loss(fake_logits, real_logits=None)`.

    Raises:
        ValueError: for another name, of the objective or of a term; it lists those that exist.
    """
    if name not in OBJECTIVES:
        raise ValueError(
            f"load_objective: name must be one of {', '.join(objectives())}, got {name!r}; a new "
            "objective is a new class in fastgan/losses/adversarial.py"
        )
    return OBJECTIVES[name](**terms)
