# SPDX-License-Identifier: Apache-2.0
"""`Spectra`: spectra.json, the power of a run's images by spatial frequency at each snapshot."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fastgan.atomic import write_atomic
from fastgan.json_forms import FormError, fields, number, parse, rows, table
from fastgan.metrics.spectrum import decibels, frequencies, power_spectra

__all__ = ["FILE", "Spectra", "read_spectra"]

FILE = "spectra.json"
_LEVELS = rows(number())
_FORM = fields({"cycles_per_pixel": _LEVELS, "real": _LEVELS, "generated": table(_LEVELS)})


class Spectra:
    """Keeps the spectra of the images of a run's snapshots beside that of the real ones.

    Args:
        run_dir: folder of the run.
        reals: [N, C, H, W], uint8 or float in [-1, 1].
    """

    def __init__(self, run_dir: Path, reals: Tensor) -> None:
        self._path = run_dir / FILE
        self._at = frequencies(*reals.shape[2:]).tolist()
        self._real = _levels(reals)

    def write(self, path: Path, x: Tensor, fakes: Sequence[tuple[float, Path]]) -> None:
        """Adds the spectrum of a snapshot, and forgets those whose pictures are gone.

        Args:
            path: picture of the snapshot.
            x: [N, C, H, W], its images; where they are not finite, it has no spectrum.
            fakes: (kimg, path) of the pictures of all snapshots.
        """
        before = read_spectra(self._path.parent)
        known = {} if before is None else before["generated"]
        known[path.name] = _levels(x)
        names = [fake.name for _, fake in fakes]
        found = {name: known[name] for name in names if known.get(name)}
        document = {"cycles_per_pixel": self._at, "real": self._real, "generated": found}
        write_atomic(self._path, json.dumps(document) + "\n")


def read_spectra(run_dir: Path) -> dict | None:
    """What spectra.json of a run folder holds.

    Args:
        run_dir: folder of the run.

    Returns:
        "cycles_per_pixel" [R], "real" [R] in dB, and "generated", which has [R] for the name of
        each picture of fakes; None where there is no such file, or it is damaged.
    """
    path = run_dir / FILE
    try:
        return parse(path.read_bytes(), _FORM) if path.exists() else None
    except FormError:
        return None


def _levels(x: Tensor) -> list[float]:
    """dB [R], to hundredths; none of images that are not finite, or of 2 channels, say."""
    if x.shape[1] not in (1, 3) or not bool(torch.isfinite(x).all()):
        return []
    return [round(level, 2) for level in decibels(power_spectra(x)).tolist()]
