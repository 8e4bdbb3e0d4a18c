# SPDX-License-Identifier: Apache-2.0
"""Molecules of a file of SMILES, or the drug-like ones of the package molsets (ZINC)."""

import csv
import gzip
import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan._extras import Extra, require
from fastgan.modalities.modality import DataFacts
from fastgan.modalities.molecules.order import alternate, walk
from fastgan.nn.molecules import ELEMENTS, NUM_BONDS, pairs

__all__ = ["BUILT_IN", "Molecules", "describe", "open_data", "to_smiles"]

BUILT_IN = "molsets"
DESCRIPTION = (
    "a text file with one SMILES a line, or a .csv with a column SMILES, either also as .gz; or "
    "'molsets' for the molecules of that package"
)
_IN_PACKAGE = Path("dataset") / "data" / "train.csv.gz"
_LINES = {"SINGLE": 1, "DOUBLE": 2, "TRIPLE": 3}
# what is no atom in a SMILES of known elements: two-letter ones are counted by their first letter
_NO_ATOMS = {ord(c): None for c in map(chr, range(128)) if not c.isalpha() or c in "Hlr"}
_FEWEST = 16  # molecules of a data set

Chem = Extra("rdkit.Chem", "molecules")
RDLogger = Extra("rdkit.RDLogger", "molecules")


class Molecules:
    """Molecules as graphs, each once, by their canonical SMILES.

    Left out are molecules with more atoms than asked for, with other elements, with a charge, or in
    several pieces, and lines that RDKit can't read.

    Args:
        path: of the file; None: the training set of the package molsets.
        elements: symbols of the elements.
        most_atoms: the most heavy atoms, at least 2; default 16.
        max_molecules: at most so many are used; None: all.

    Attributes:
        smiles: canonical, in the order of the file.
        atoms: uint8 [M, most_atoms], kinds; bonds: uint8 [M, P], kinds (`fastgan.nn.molecules`).

    Raises:
        FileNotFoundError: no such file, or molsets is not installed.
        MissingPackageError: RDKit is not installed.
        ValueError: too few molecules fit.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        elements: tuple[str, ...] = ELEMENTS,
        most_atoms: int = 16,
        max_molecules: int | None = None,
    ) -> None:
        require("rdkit", "molecules")
        self.elements, self.most_atoms = tuple(elements), most_atoms
        self.path = _file_of(path)
        self.name = BUILT_IN if path is None else self.path.name.partition(".")[0]
        now = self.path.stat()
        self.smiles, self.atoms, self.bonds, self.num_lines = _read(
            self.path, (now.st_mtime_ns, now.st_size), self.elements, most_atoms, max_molecules
        )

    def __len__(self) -> int:
        return len(self.smiles)

    def batch(self, indices: np.ndarray, uniform: np.ndarray) -> tuple[dict[str, Tensor], None]:
        """Some molecules.

        Args:
            indices: int64 [B].
            uniform: not used.

        Returns:
            ({"atoms": float32 [B, n, 1 + K], "bonds": float32 [B, P, 4]}, one-hot; None).
        """
        one_hot = torch.nn.functional.one_hot
        atoms = torch.from_numpy(self.atoms[indices]).long()
        bonds = torch.from_numpy(self.bonds[indices]).long()
        return {
            "atoms": one_hot(atoms, 1 + len(self.elements)).float(),
            "bonds": one_hot(bonds, NUM_BONDS).float(),
        }, None


def _file_of(path: str | Path | None) -> Path:
    if path is not None:
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"Molecules: there is no file {path}; expected a file of SMILES, or {BUILT_IN!r} "
                "for the molecules of that package (--data)"
            )
        return Path(path)
    package = importlib.util.find_spec("moses")
    places = [] if package is None else package.submodule_search_locations or []
    for folder in places:
        if (Path(folder) / _IN_PACKAGE).is_file():
            return Path(folder) / _IN_PACKAGE
    raise FileNotFoundError(
        "Molecules: the package molsets is not installed, whose file of molecules is read; "
        "pip install --no-deps molsets, or name a file with one SMILES a line (--data)"
    )


@lru_cache(maxsize=1)  # a command asks what is in the data before it opens them
def _read(
    path: Path,
    version: tuple[int, int],
    elements: tuple[str, ...],
    most_atoms: int,
    max_molecules: int | None,
) -> tuple[list[str], np.ndarray, np.ndarray, int]:
    """SMILES, kinds of atoms, kinds of bonds, and the number of lines that were read."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    num_lines = 0
    RDLogger.DisableLog("rdApp.*")
    for text in _lines(path):
        num_lines += 1
        if len(text.translate(_NO_ATOMS)) > most_atoms:
            continue  # before RDKit reads it, which takes a hundred times as long
        molecule = Chem.MolFromSmiles(text)
        graph = None if molecule is None else _graph(molecule, elements, most_atoms)
        if graph is None:
            continue
        smiles = Chem.MolToSmiles(molecule)
        if "." not in smiles:
            found.setdefault(smiles, graph)
        if len(found) == max_molecules:
            break
    if len(found) < _FEWEST:
        raise ValueError(
            f"Molecules: {path} has {len(found)} molecules of at most {most_atoms} heavy atoms "
            f"({', '.join(elements)}) in {num_lines} lines, and at least {_FEWEST} are needed; "
            "write one SMILES a line, or allow more atoms"
        )
    atoms, bonds = (np.stack(column) for column in zip(*found.values(), strict=True))
    return list(found), atoms, bonds, num_lines


def _graph(
    molecule: Any, elements: tuple[str, ...], n: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Kinds of atoms and bonds; None for a molecule that is left out."""
    if not 1 <= molecule.GetNumAtoms() <= n:
        return None
    atoms, bonds = np.zeros(n, np.uint8), np.zeros((n, n), np.uint8)
    molecule = Chem.RenumberAtoms(molecule, walk(molecule))
    for atom in molecule.GetAtoms():
        if atom.GetFormalCharge() or atom.GetSymbol() not in elements:
            return None
        atoms[atom.GetIdx()] = 1 + elements.index(atom.GetSymbol())
    plain = Chem.Mol(molecule)
    Chem.Kekulize(plain, clearAromaticFlags=True)
    for bond in plain.GetBonds():
        i, j = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        kind = _LINES.get(str(bond.GetBondType()))
        if kind is None:
            return None
        bonds[i, j] = kind
    alternate(bonds, plain.GetRingInfo().AtomRings())
    return atoms, bonds[np.triu_indices(n, 1)]


def _lines(path: Path) -> Iterator[str]:
    """The SMILES of a file: its column of that name, or the first word of each line."""
    is_packed = path.suffix.lower() == ".gz"
    kind = Path(path.stem).suffix.lower() if is_packed else path.suffix.lower()
    with (gzip.open if is_packed else open)(path, "rt", encoding="utf-8") as file:
        if kind != ".csv":
            for line in file:
                if words := line.split():
                    yield words[0]
            return
        rows = csv.DictReader(file)
        column = next((c for c in rows.fieldnames or [] if c.lower() == "smiles"), None)
        if column is None:
            raise ValueError(
                f"Molecules: {path} has the columns {', '.join(rows.fieldnames or ['(none)'])}; "
                "expected one with the name SMILES"
            )
        for row in rows:
            yield row[column]


def to_smiles(x: dict[str, Tensor], elements: tuple[str, ...]) -> list[str | None]:
    """The canonical SMILES of graphs; None for one that is no molecule.

    A molecule is in one piece, and RDKit accepts its valences (`SanitizeMol`).

    Args:
        x: {"atoms": [N, n, 1 + K], "bonds": [N, P, 4]}; the largest of a kind counts.
        elements: symbols of the kinds 1 to K.

    Returns:
        N texts or None.
    """
    RDLogger.DisableLog("rdApp.*")
    atoms, bonds = (x[key].argmax(-1).tolist() for key in ("atoms", "bonds"))
    places = list(zip(*(t.tolist() for t in pairs(x["atoms"].shape[1])), strict=True))
    return [_smiles(a, b, places, elements) for a, b in zip(atoms, bonds, strict=True)]


def _smiles(
    atoms: list[int], bonds: list[int], places: list[tuple[int, int]], elements: tuple[str, ...]
) -> str | None:
    kinds = (None, Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE)
    molecule = Chem.RWMol()
    index = {i: molecule.AddAtom(Chem.Atom(elements[a - 1])) for i, a in enumerate(atoms) if a}
    for (i, j), kind in zip(places, bonds, strict=True):
        if kind and i in index and j in index:
            molecule.AddBond(index[i], index[j], kinds[kind])
    try:
        Chem.SanitizeMol(molecule)
    except ValueError:  # what RDKit's exceptions about valences and rings are
        return None
    text = Chem.MolToSmiles(molecule)
    return text if text and "." not in text else None


def describe(data: Any) -> DataFacts:
    """What the molecules tell a recipe: their elements and their largest size.

    Args:
        data: `DataConfig`; options are elements and most_atoms.

    Returns:
        Arguments are elements and most_atoms.

    Raises:
        FileNotFoundError: as `Molecules`.
        ValueError: as `Molecules`.
    """
    found = Molecules(data.path, max_molecules=data.max_images, **data.options)
    return DataFacts(
        arguments={"elements": found.elements, "most_atoms": found.most_atoms},
        name=found.name,
        count=len(found),
        num_bytes=found.atoms.nbytes + found.bonds.nbytes,
        lines=(
            f"data        {found.path}: {len(found)} molecules of at most {found.most_atoms} heavy "
            f"atoms ({', '.join(found.elements)}) in {found.num_lines} lines",
        ),
    )


def open_data(data: Any, model: Any) -> Molecules:
    """The molecules, checked against the model.

    Args:
        data: `DataConfig`.
        model: the architecture's Config, with elements and most_atoms.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: as `Molecules`.
        ValueError: as `Molecules`, or options that differ from the model's.
    """
    own = {"elements": tuple(model.elements), "most_atoms": model.most_atoms}
    options = own | data.options
    if {**options, "elements": tuple(options["elements"])} != own:
        raise ValueError(
            f"train: the model makes molecules with {own}, but data.options are {data.options}; "
            "change one of them"
        )
    return Molecules(data.path, max_molecules=data.max_images, **options)
