# SPDX-License-Identifier: Apache-2.0
"""Pictures of a run: low resolution, bicubic, generated and real side by side, and the report."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from fastgan.modalities import cards
from fastgan.modalities.images.grids import make_sheet
from fastgan.modalities.images.samples import write_all, write_one
from fastgan.modalities.pictures import write_picture
from fastgan.models.super_resolution import enlarge

__all__ = ["NOUN", "SUFFIX", "make_writer", "section", "write_all", "write_one"]

NOUN = "pictures"
SUFFIX = ".png"


class _Writer:
    def __init__(self, c: Tensor, reals: Tensor):
        nearest = F.interpolate(c, reals.shape[2:], mode="nearest")
        self._known, self._reals = [nearest, enlarge(c)], reals

    def write(self, path: Path, x: Tensor, fakes: Sequence[tuple[float, Path]]) -> None:
        n = len(x)
        sheet = make_sheet([*self._known, x, self._reals], n // 2 if n % 2 == 0 else n)
        write_picture(path, sheet)


def make_writer(
    config: Any, run_dir: Path, reals: Callable[[int], Tensor], c: Any, n: int
) -> _Writer:
    """What writes the pictures of a run.

    Args:
        config: `TrainConfig`.
        run_dir: folder of the run.
        reals: n → the held-out pictures [n, 3, H, W] that the snapshots are compared with.
        c: their low-resolution pictures [n, 3, H / 4, W / 4].
        n: their number.

    Returns:
        Its `write(path, x, fakes)` writes a snapshot: of each picture the low resolution (nearest),
        the bicubic enlargement, the generated and the real one.
    """
    return _Writer(c.detach().float().cpu(), reals(n).float().cpu())


def section(
    folder: Path, files: Collection[str], fakes: Sequence[tuple[float, str]]
) -> tuple[str, str]:
    """HTML of the report: the newest snapshot, and earlier ones.

    Args:
        folder: of the run.
        files: names of what is in it.
        fakes: (kimg, file name) of every snapshot, oldest first.

    Returns:
        What is shown above the curves, and what below them; "" for nothing.
    """
    title = "Low resolution, bicubic, generated, real"
    return cards.beside_reals("Held-out pictures", files, fakes, newest_title=title)
