# SPDX-License-Identifier: Apache-2.0
"""Words of a run: reals.txt and fakes<kimg>.txt, one word a line, and their place in the report."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fastgan.atomic import write_atomic
from fastgan.modalities import cards
from fastgan.modalities.words.data import to_text

__all__ = ["NOUN", "SUFFIX", "make_writer", "section", "write_all", "write_one"]

NOUN = "words"
SUFFIX = ".txt"
_IN_PROGRESS, _OF_EACH = 8, 8  # snapshots, and words of each


class _Writer:
    def __init__(self, alphabet: str):
        self._alphabet = alphabet

    def write(self, path: Path, x: Tensor, fakes: Sequence[tuple[float, Path]]) -> None:
        _write(path, to_text(x, self._alphabet))


def _write(path: Path, words: Sequence[str]) -> None:
    write_atomic(path, "".join(f"{word}\n" for word in words))


def make_writer(
    config: Any, run_dir: Path, reals: Callable[[int], Tensor], c: Any, n: int
) -> _Writer:
    """What writes the words of a run; reals.txt is written at once.

    Args:
        config: `TrainConfig`.
        run_dir: folder of the run.
        reals: n → the first n real words [n, L, V] that the run sees.
        c: None.
        n: the number of words of a snapshot.

    Returns:
        Its `write(path, x, fakes)` writes the words x [n, L, V] of a snapshot.
    """
    writer = _Writer(config.model.alphabet)
    writer.write(run_dir / f"reals{SUFFIX}", reals(n), [])
    return writer


def write_one(x: Tensor, stem: Path, config: Any) -> Path:
    """One word as a file of its own.

    Args:
        x: [1, L, V].
        stem: path of the file without suffix.
        config: `TrainConfig`.

    Returns:
        The path.
    """
    return write_all(x, stem, config)


def write_all(x: Tensor, stem: Path, config: Any) -> Path:
    """Words as one file.

    Args:
        x: [N, L, V].
        stem: path of the file without suffix.
        config: `TrainConfig`.

    Returns:
        The path.
    """
    path = stem.with_name(stem.name + SUFFIX)
    _write(path, to_text(x, config.model.alphabet))
    return path


def section(
    folder: Path, files: Collection[str], fakes: Sequence[tuple[float, str]]
) -> tuple[str, str]:
    """HTML of the report: the newest words beside real ones, and some of each snapshot.

    Args:
        folder: of the run.
        files: names of what is in it.
        fakes: (kimg, file name) of every snapshot, oldest first.

    Returns:
        What is shown above the curves, and what below them; "" for nothing.
    """

    def listed(most: int | None = None) -> Callable[[str, str, str], str]:
        return lambda title, note, file: cards.text_card(title, note, _list(folder / file, most))

    return cards.beside_reals(
        "Words", files, fakes, listed(), reals=f"reals{SUFFIX}", reals_title="Training words",
        earlier=listed(_OF_EACH), limit=_IN_PROGRESS,
    )  # fmt: skip


def _list(path: Path, most: int | None = None) -> str:
    return cards.word_list(path.read_text(encoding="utf-8").splitlines()[:most])
