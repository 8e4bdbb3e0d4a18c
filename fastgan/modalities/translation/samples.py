"""Pictures of a run: both domains, translated, and translated back; and the report's section."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.modalities import cards
from fastgan.modalities.images.grids import GridShape, make_grid
from fastgan.modalities.images.samples import write_one as write_image
from fastgan.modalities.pictures import write_picture
from fastgan.models.cycle_gan import DOMAINS

__all__ = ["NOUN", "SUFFIX", "make_writer", "section", "write_all", "write_one"]

NOUN = "pairs of pictures"
SUFFIX = ".png"
_IN_PROGRESS = 6
_TILE = 96  # pixels that a picture has at least on a sheet

Pictures = dict[str, Tensor]


def _sheet(columns: Sequence[Tensor], rows: int) -> Any:
    """A picture with the columns [N, 3, H, W] side by side, and with N / rows of them in a row."""
    tiles = torch.stack([column.detach().float().cpu() for column in columns], 1)
    in_row = len(tiles) // rows
    scale = max(1, _TILE // max(tiles.shape[3:]))
    shape = GridShape(rows=rows, cols=in_row * len(columns), scale=scale)
    return make_grid(tiles.flatten(0, 1), shape)


class _Writer:
    def __init__(self, reals: Pictures) -> None:
        self._reals = reals

    def write(self, path: Path, x: Pictures, fakes: Sequence[tuple[int, Path]]) -> None:
        of_a = [self._reals["a"], x["b"], x["cycle_a"]]
        of_b = [self._reals["b"], x["a"], x["cycle_b"]]
        n = len(x["a"])
        write_picture(path, _sheet([*of_a, *of_b], n // 2 if n % 2 == 0 else n))


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
    write_picture(path, _sheet(columns, len(x["a"])))
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
    if not fakes:
        return "", ""
    kimg, file = fakes[-1]
    title = "A, A to B, back to A; B, B to A, back to B"
    shown = cards.pair("Held-out pictures", [cards.card(title, f"{kimg} kimg", file)])
    earlier = [cards.card(f"{k} kimg", "", f) for k, f in cards.spread(fakes, _IN_PROGRESS)]
    return shown, cards.pair("Progress", earlier) if len(earlier) > 1 else ""
