# SPDX-License-Identifier: Apache-2.0
"""Cycle consistency and identity, for two generators that translate between two domains. Of G.

    weight · Σ over domains d of E |F(G(x)) − x|      x of d, translated to the other one and back
    weight · identity · Σ over d of E |F(x) − x|      x of d by the generator that leads into d

Batches are dicts of domains; for each domain d of the real samples G returns "cycle_d", and with
identity > 0 "same_d" (`fastgan.models.cycle_gan`).

Source: Zhu et al. 2017, CycleGAN, arXiv 1703.10593, equation 2 and section 5.2.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from fastgan.losses.judgement import Judged
from fastgan.losses.objective import Losses, Objective

__all__ = ["Term"]


class Term(Objective):
    """Both losses, as "cycle" and "identity".

    Args:
        weight: of the cycle loss; default 10, as published.
        identity: weight of the identity loss as a share of `weight`; default 0.5, as published;
            0: there is none.

    Raises:
        ValueError: in a step, when the samples are no dicts, or G lacks an entry.
    """

    def __init__(self, weight: float = 10.0, *, identity: float = 0.5):
        super().__init__()
        self.weight, self.identity = float(weight), float(identity)

    def generator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """See `fastgan.losses.objective.Objective.generator_losses`."""
        losses = {"cycle": self.weight * _distance(fake, batch.x, "cycle_{}".format)}
        if self.identity > 0:
            same = _distance(fake, batch.x, "same_{}".format)
            losses["identity"] = self.weight * self.identity * same
        return losses


def _distance(fake: Any, x: Any, name: Callable[[str], str]) -> Tensor:
    """The sum over domains of the mean distance of G's entries from the real samples."""
    if not isinstance(x, dict) or not isinstance(fake, dict):
        raise ValueError(
            f"cycle: samples must be dicts of domains, such as {{'a': ..., 'b': ...}}, got a "
            f"{type(x).__name__} and a {type(fake).__name__} of G; leave the term cycle out"
        )
    total = None
    for domain, real in x.items():
        if name(domain) not in fake:
            raise ValueError(
                f"cycle: G must return {name(domain)!r} for the domain {domain!r}, got "
                f"{', '.join(map(str, fake))}; see fastgan.models.cycle_gan"
            )
        loss = (fake[name(domain)] - real).abs().mean()
        total = loss if total is None else total + loss
    return total
