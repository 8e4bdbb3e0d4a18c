# SPDX-License-Identifier: Apache-2.0
"""Metrics of molecules, by RDKit.

valid    share of generated graphs that are molecules: one piece, valences that RDKit accepts
unique   share of different molecules among the valid ones
novel    share of molecules that are not in the data set among the different ones
ringed   share of the valid ones that have a ring; nearly every drug has one
ringed_real  the same of the data set
rings_w1     Wasserstein-1 distance of the numbers of rings of the valid ones from those of the data
             set: 0 is the best, the data set's mean is that of molecules without rings
ring_sizes   half the summed difference of the shares that rings of 3, 4, ... atoms have among all
             rings (total variation): 0 is the best, 1 is no common size, or no ring

All of the first three are wanted high at once: a generator that always draws methane has valid 1.
Rings are those of RDKit's smallest set.
Source of the definitions: De Cao and Kipf 2018, arXiv 1805.11973, section 4.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan._extras import Extra, MissingPackageError, require
from fastgan.metrics import PartEvaluator
from fastgan.modalities.molecules.data import Molecules, to_smiles

__all__ = ["DEFAULT", "HIGHER_IS_BETTER", "LOWER_IS_BETTER", "NAMES", "available", "make_evaluator"]

NAMES = ("valid", "unique", "novel", "ringed", "ringed_real", "rings_w1", "ring_sizes")
DEFAULT = ",".join(NAMES)
LOWER_IS_BETTER, HIGHER_IS_BETTER = ("rings_w1", "ring_sizes"), ("valid", "unique", "novel")

Chem = Extra("rdkit.Chem", "molecules")


def available() -> str | None:
    """Why the metrics can't be computed here; None if they can."""
    try:
        require("rdkit", "molecules")
    except MissingPackageError as error:
        return str(error)
    return None


class MoleculeEvaluator(PartEvaluator):
    """Whether generated graphs are molecules, different ones, and new ones.

    Args:
        dataset: the molecules.
        options: as `fastgan.metrics.PartEvaluator`; num_real bounds the molecules whose rings are
            counted, taken evenly from the data set.
    """

    names = NAMES
    extractor_name = "RDKit"

    def __init__(self, dataset: Molecules, **options: Any) -> None:
        super().__init__(dataset, **options)
        self._known = frozenset(dataset.smiles)
        chosen = np.linspace(0, len(dataset) - 1, self.num_real).round().astype(int)
        self._rings = _rings([dataset.smiles[i] for i in chosen])

    def features(self, x: dict[str, Tensor], first: int) -> Tensor:
        """The kinds of atoms and bonds.

        Args:
            x: {"atoms": [n, atoms, 1 + K], "bonds": [n, P, 4]}.
            first: not used.

        Returns:
            float32 [n, atoms + P].
        """
        return torch.cat([x["atoms"].argmax(-1), x["bonds"].argmax(-1)], 1)

    def properties(self, fake: Tensor) -> np.ndarray:
        """The molecule of each graph, by RDKit, which takes nearly all of the time.

        Args:
            fake: [num_fake, atoms + P], kinds.

        Returns:
            object [num_fake]: (SMILES, sizes of its rings), or None for a graph that is not valid.
        """
        data = self.dataset
        atoms, bonds = fake.long().split([data.most_atoms, data.bonds.shape[1]], 1)
        one_hot = torch.nn.functional.one_hot
        texts = to_smiles(
            {"atoms": one_hot(atoms, 1 + len(data.elements)), "bonds": one_hot(bonds, 4)},
            data.elements,
        )
        found = np.empty(len(texts), dtype=object)
        for i, text in enumerate(texts):
            found[i] = None if text is None else (text, *_rings([text]))
        return found

    def scores(self, names: Sequence[str], fake: np.ndarray) -> dict[str, float]:
        """The values of all metrics.

        Args:
            names: not used: all are computed.
            fake: object [n], of `properties`.

        Returns:
            The value of each metric by name; where no graph is valid, that of molecules without
            rings, and 0 for the shares.
        """
        valid = [molecule for molecule in fake if molecule is not None]
        different = {text for text, _ in valid}
        rings = [sizes for _, sizes in valid] or [[]]
        return {
            "valid": len(valid) / len(fake),
            "unique": len(different) / max(len(valid), 1),
            "novel": len(different - self._known) / max(len(different), 1),
            "ringed": _share_with(rings),
            "ringed_real": _share_with(self._rings),
            "rings_w1": _distance(rings, self._rings),
            "ring_sizes": _size_distance(rings, self._rings),
        }


def _rings(smiles: Sequence[str]) -> list[list[int]]:
    """The sizes of each molecule's rings."""
    molecules = [Chem.MolFromSmiles(text) for text in smiles]  # own what GetRingInfo returns
    return [[len(ring) for ring in m.GetRingInfo().AtomRings()] for m in molecules]


def _share_with(rings: list[list[int]]) -> float:
    return sum(map(bool, rings)) / len(rings)


def _distance(a: list[list[int]], b: list[list[int]]) -> float:
    """Wasserstein-1 distance of the numbers of rings: the summed difference of their tails."""
    most = max(map(len, a + b))
    return sum(
        abs(sum(len(m) > k for m in a) / len(a) - sum(len(m) > k for m in b) / len(b))
        for k in range(most)
    )


def _size_distance(a: list[list[int]], b: list[list[int]]) -> float:
    counts = [Counter(size for molecule in rings for size in molecule) for rings in (a, b)]
    totals = [sum(count.values()) for count in counts]
    if not all(totals):
        return float(any(totals))
    return 0.5 * sum(
        abs(counts[0][size] / totals[0] - counts[1][size] / totals[1])
        for size in counts[0].keys() | counts[1].keys()
    )


def make_evaluator(dataset: Molecules, **options: Any) -> MoleculeEvaluator:
    """The evaluator of molecules.

    Args:
        dataset: the molecules.
        options: num_real, batch, device, seed and ranks.
    """
    return MoleculeEvaluator(dataset, **options)
