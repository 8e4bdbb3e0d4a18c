"""Metrics of molecules, by RDKit.

valid    share of generated graphs that are molecules: one piece, valences that RDKit accepts
unique   share of different molecules among the valid ones
novel    share of molecules that are not in the data set among the different ones
rings    mean number of rings of the valid ones, divided by that of the data set; 1 is the best

All of the first three are wanted high at once: a generator that always draws methane has valid 1.
Source of the definitions: De Cao and Kipf 2018, arXiv 1805.11973, section 4.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastgan._extras import Extra, MissingPackageError, require
from fastgan.metrics import PartEvaluator
from fastgan.modalities.molecules.data import Molecules, to_smiles

__all__ = ["DEFAULT", "NAMES", "available", "make_evaluator"]

NAMES = ("valid", "unique", "novel", "rings")
DEFAULT = ",".join(NAMES)

Chem = Extra("rdkit.Chem", "molecules")
Descriptors = Extra("rdkit.Chem.rdMolDescriptors", "molecules")


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
            counted.
    """

    names = NAMES
    extractor_name = "RDKit"

    def __init__(self, dataset: Molecules, **options: Any) -> None:
        super().__init__(dataset, **options)
        self._known = frozenset(dataset.smiles)
        self._rings = _mean_rings(dataset.smiles[: self.num_real])

    def features(self, x: dict[str, Tensor], first: int) -> Tensor:
        """The kinds of atoms and bonds.

        Args:
            x: {"atoms": [n, atoms, 1 + K], "bonds": [n, P, 4]}.
            first: not used.

        Returns:
            float32 [n, atoms + P].
        """
        return torch.cat([x["atoms"].argmax(-1), x["bonds"].argmax(-1)], 1)

    def scores(self, names: Sequence[str], fake: Tensor) -> dict[str, float]:
        """The values of all metrics.

        Args:
            names: not used: all are computed.
            fake: [num_fake, atoms + P], kinds.

        Returns:
            The value of each metric by name; 0 where no graph is valid.
        """
        data = self.dataset
        atoms, bonds = fake.long().split([data.most_atoms, data.bonds.shape[1]], 1)
        one_hot = torch.nn.functional.one_hot
        texts = to_smiles(
            {"atoms": one_hot(atoms, 1 + len(data.elements)), "bonds": one_hot(bonds, 4)},
            data.elements,
        )
        valid = [text for text in texts if text is not None]
        different = set(valid)
        return {
            "valid": len(valid) / len(texts),
            "unique": len(different) / max(len(valid), 1),
            "novel": len(different - self._known) / max(len(different), 1),
            "rings": _mean_rings(valid) / self._rings if self._rings else float("nan"),
        }


def _mean_rings(smiles: Sequence[str]) -> float:
    counts = [Descriptors.CalcNumRings(Chem.MolFromSmiles(text)) for text in smiles]
    return sum(counts) / max(len(counts), 1)


def make_evaluator(dataset: Molecules, **options: Any) -> MoleculeEvaluator:
    """The evaluator of molecules.

    Args:
        dataset: the molecules.
        options: num_real, batch, device, seed and ranks.
    """
    return MoleculeEvaluator(dataset, **options)
