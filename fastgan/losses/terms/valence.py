# SPDX-License-Identifier: Apache-2.0
"""Valence: generated molecules shall have no more bonds at an atom than its element allows.

A loss of G:

    weight · E Σ over atoms of max(0, lines of the atom − its valence)

A differentiable reward in the place of MolGAN's reward network (De Cao and Kipf 2018, arXiv
1805.11973, section 3.3), which learns the same from a chemistry program.
"""

from collections.abc import Sequence
from typing import Any

from fastgan.losses.judgement import Judged
from fastgan.losses.objective import Losses, Objective
from fastgan.nn.molecules import ELEMENTS, excess_valence, valences

__all__ = ["Term"]


class Term(Objective):
    """What generated molecules have beyond their valences, as "valence".

    Args:
        weight: of the sum over atoms.
        elements: symbols of the kinds of atoms, as the generator's.

    Raises:
        ValueError: for an unknown element; and in a step, when samples are no molecules.
    """

    def __init__(self, weight: float = 0.1, *, elements: Sequence[str] = ELEMENTS):
        super().__init__()
        self.weight = float(weight)
        self.register_buffer("most", valences(tuple(elements)), persistent=False)

    def generator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """See `fastgan.losses.objective.Objective.generator_losses`."""
        if not isinstance(fake, dict) or not {"atoms", "bonds"} <= fake.keys():
            raise ValueError(
                "valence: G must make molecules, a dict with atoms and bonds (fastgan.nn.molecules)"
            )
        excess = excess_valence(fake["atoms"], fake["bonds"], self.most)
        return {"valence": self.weight * excess.sum(1).mean()}
