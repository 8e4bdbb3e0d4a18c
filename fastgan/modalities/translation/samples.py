# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run: both domains, translated, and translated back; and the report's section."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fastgan.modalities import cards
from fastgan.modalities.images.grids import make_sheet
from fastgan.modalities.images.samples import write_one as write_image
from fastgan.modalities.pictures import write_picture
from fastgan.models.cycle_gan import DOMAINS

__all__ = ["NOUN", "SUFFIX", "make_writer", "section", "write_all", "write_one"]

NOUN = "pairs of pictures"
SUFFIX = ".png"

Pictures = dict[str, Tensor]


class _Writer:
    def __init__(self, reals: Pictures) -> None:
        self._reals = reals

    def write(self, path: Path, x: Pictures, fakes: Sequence[tuple[int, Path]]) -> None:
        of_a = [self._reals["a"], x["b"], x["cycle_a"]]
        of_b = [self._reals["b"], x["a"], x["cycle_b"]]
        n = len(x["a"])
        write_picture(path, make_sheet([*of_a, *of_b], n // 2 if n % 2 == 0 else n))


def make_writer(
    config: Any, run_dir: Path, reals: Callable[[int], Pictures], c: Any, n: int
) -> _Writer:
    """What writes the pictures of a run.

    Args:
        config: `TrainConfig`.
        run_dir: folder of the run.
        reals: n → the held-out pictures {"a": [n, 3, H, W], "b": likewise}.
        c: the same ones.
        n: their number.

    Returns:
        Its `write(path, x, fakes)` writes a snapshot: a picture of a, translated to b, and back to
        a; then one of b, translated to a, and back to b; and so on.
    """
    return _Writer(reals(n))


def write_one(x: Pictures, stem: Path, config: Any) -> Path:
    """The two translations: STEM_b.png, into the domain b, and STEM_a.png.

    Args:
        x: what G returned, with N = 1.
        stem: path of the files without their ends.
        config: `TrainConfig`.

    Returns:
        The path of STEM_b.png.
    """
    paths = [write_image(x[d], stem.with_name(f"{stem.name}_{d}"), config) for d in DOMAINS]
    return paths[-1]


def write_all(x: Pictures, stem: Path, config: Any) -> Path:
    """A sheet with one row for each: translated to b, and back; translated to a, and back.

    Args:
        x: what G returned.
        stem: path of the file without suffix.
        config: `TrainConfig`.

    Returns:
        The path.
    """
    path = stem.with_name(stem.name + SUFFIX)
    columns = [x["b"], x["cycle_a"], x["a"], x["cycle_b"]]
    write_picture(path, make_sheet(columns, len(x["a"])))
    return path


def section(
    folder: Path, files: Collection[str], fakes: Sequence[tuple[int, str]]
) -> tuple[str, str]:
    """HTML of the report: the newest snapshot, and earlier ones.

    Args:
        folder: of the run.
        files: names of what is in it.
        fakes: (kimg, file name) of every snapshot, oldest first.

    Returns:
        What is shown above the curves, and what below them; "" for nothing.
    """
    title = "A, A to B, back to A; B, B to A, back to B"
    return cards.beside_reals("Held-out pictures", files, fakes, newest_title=title)
