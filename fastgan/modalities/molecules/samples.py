# SPDX-License-Identifier: Apache-2.0
"""Molecules of a run: sheets of drawings (.svg), with their SMILES beside them (.smi)."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fastgan._extras import Extra
from fastgan.atomic import write_atomic
from fastgan.modalities import cards
from fastgan.modalities.molecules.data import to_smiles

__all__ = ["NOUN", "SUFFIX", "make_writer", "section", "write_all", "write_one"]

NOUN = "molecules"
SUFFIX = ".svg"
_DRAWN, _IN_A_ROW = 32, 4  # molecules of a sheet
_WIDTH, _HEIGHT = 240, 130  # pixels of one: chains are wide
_INVALID = "invalid"  # in the place of a SMILES

Chem = Extra("rdkit.Chem", "molecules")
Draw = Extra("rdkit.Chem.Draw.rdMolDraw2D", "molecules")


class _Writer:
    def __init__(self, elements: tuple[str, ...]):
        self._elements = elements

    def write(self, path: Path, x: dict[str, Tensor], fakes: Sequence[tuple[float, Path]]) -> None:
        _write(path, to_smiles(x, self._elements))


def _write(path: Path, smiles: Sequence[str | None]) -> None:
    write_atomic(path.with_suffix(".smi"), "".join(f"{text or _INVALID}\n" for text in smiles))
    write_atomic(path, _sheet([text for text in smiles if text is not None]))


def _sheet(smiles: Sequence[str]) -> str:
    """The first valid molecules as one SVG; an empty one where there are none."""
    drawn = [Chem.MolFromSmiles(text) for text in smiles[:_DRAWN]]
    columns = max(min(len(drawn), _IN_A_ROW), 1)
    rows = max(-(-len(drawn) // _IN_A_ROW), 1)
    sheet = Draw.MolDraw2DSVG(columns * _WIDTH, rows * _HEIGHT, _WIDTH, _HEIGHT)
    if drawn:
        sheet.DrawMolecules(drawn)
    sheet.FinishDrawing()
    return sheet.GetDrawingText()


def make_writer(
    config: Any, run_dir: Path, reals: Callable[[int], dict[str, Tensor]], c: Any, n: int
) -> _Writer:
    """What draws the molecules of a run; reals.svg is written at once.

    Args:
        config: `TrainConfig`.
        run_dir: folder of the run.
        reals: n → the first n real molecules that the run sees.
        c: None.
        n: the number of molecules of a snapshot.

    Returns:
        Its `write(path, x, fakes)` draws the molecules of a snapshot.
    """
    writer = _Writer(tuple(config.model.elements))
    writer.write(run_dir / f"reals{SUFFIX}", reals(n), [])
    return writer


def write_one(x: dict[str, Tensor], stem: Path, config: Any) -> Path:
    """One molecule as a drawing of its own.

    Args:
        x: of one molecule.
        stem: path of the file without suffix.
        config: `TrainConfig`.

    Returns:
        The path.
    """
    return write_all(x, stem, config)


def write_all(x: dict[str, Tensor], stem: Path, config: Any) -> Path:
    """Molecules as one sheet.

    Args:
        x: {"atoms": [N, n, 1 + K], "bonds": [N, P, 4]}.
        stem: path of the file without suffix.
        config: `TrainConfig`.

    Returns:
        The path.
    """
    path = stem.with_name(stem.name + SUFFIX)
    _write(path, to_smiles(x, tuple(config.model.elements)))
    return path


def section(
    folder: Path, files: Collection[str], fakes: Sequence[tuple[float, str]]
) -> tuple[str, str]:
    """HTML of the report: the newest sheet beside real molecules, and the sheets of snapshots.

    Args:
        folder: of the run.
        files: names of what is in it.
        fakes: (kimg, file name) of every snapshot, oldest first.

    Returns:
        What is shown above the curves, and what below them; "" for nothing.
    """
    reals = f"reals{SUFFIX}"

    def make(title: str, note: str, file: str) -> str:
        if file != reals:
            note = ", ".join(filter(None, (note, _counted(folder / file))))
        return cards.card(title, note, file)

    return cards.beside_reals(
        "Molecules", files, fakes, make, reals=reals, reals_title="Training molecules"
    )


def _counted(sheet: Path) -> str:
    lines = sheet.with_suffix(".smi").read_text(encoding="utf-8").splitlines()
    valid = sum(line != _INVALID for line in lines)
    return f"{valid} of {len(lines)} are valid, the first {min(valid, _DRAWN)} are drawn"
