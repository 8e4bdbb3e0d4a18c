# SPDX-License-Identifier: Apache-2.0
"""`Samples`: what a run generates, written by its modality: reals and fakes<kimg> files."""

from pathlib import Path
from typing import Any

from fastgan.modalities import load_modality
from fastgan.training.loop.observer import Observer, RunInfo, Snapshot
from fastgan.training.loop.run_files import fakes_name, list_fakes
from fastgan.training.loop.sampling import sample_grid
from fastgan.training.step.state import TrainState


class Samples(Observer):
    """Writes the run's samples: real ones once, those of G_ema at every snapshot.

    A run that ends between snapshots gets last ones. The modality of the run's data says in which
    files, and may write none, as that of images does for a model of vectors.
    """

    def __init__(self) -> None:
        self._state: TrainState | None = None
        self._run_dir = Path()
        self._writer: Any = None
        self._suffix = ""
        self._last_nimg = -1

    def on_start(self, info: RunInfo) -> None:
        state, self._run_dir, self._last_nimg = info.state, info.run_dir, info.state.nimg
        self._state = state
        samples = load_modality(info.config.data.modality).samples
        self._suffix = samples.SUFFIX
        self._writer = samples.make_writer(
            info.config, info.run_dir, info.reals, state.grid_c, state.grid_size
        )

    def on_snapshot(self, snapshot: Snapshot) -> None:
        self._write(snapshot.samples)

    def on_end(self, reason: str) -> None:
        is_saved = reason in ("finished", "interrupted")
        if is_saved and self._state is not None and self._state.nimg != self._last_nimg:
            self._write(self._run_dir / fakes_name(self._state.nimg, self._suffix))

    def _write(self, path: Path) -> None:
        self._last_nimg = self._state.nimg
        if self._writer is not None:
            fakes = list_fakes(self._run_dir, self._suffix, coming=path)
            self._writer.write(path, sample_grid(self._state), fakes)
