# SPDX-License-Identifier: Apache-2.0
"""`Saver`: writes checkpoints in the background while the run goes on."""

from pathlib import Path
from types import TracebackType

from fastgan.training.checkpoint import checkpoint, retention
from fastgan.training.checkpoint.background import Background
from fastgan.training.checkpoint.contents import Contents
from fastgan.training.checkpoint.file import CheckpointError

__all__ = ["Saver"]


class Saver:
    """Writes staged contents into run_dir/checkpoints in a thread, and prunes the folder.

    It writes one at a time: a second `save` waits for the first. So a slow disk slows the run, and
    a crash never loses more than the time between two checkpoints, plus what was trained while the
    newer of them was being written.

    When the disk refuses, the next call raises CheckpointError, which names the folder; the older
    checkpoints are intact, and no part of the new one is left. As a context manager it waits at the
    end; after KeyboardInterrupt it does not wait, and the thread finishes the file by itself.

    Args:
        run_dir: folder of the run.
        keep_last: how many of the newest checkpoints to keep; default 3.
        keep_every_nimg: keeps one more checkpoint of every so many images; default: none.
    """

    def __init__(
        self, run_dir: Path, *, keep_last: int = 3, keep_every_nimg: float | None = None
    ) -> None:
        self.run_dir, self.keep_last, self.keep_every_nimg = run_dir, keep_last, keep_every_nimg
        self._background = Background("fastgan-checkpoint")

    def save(self, contents: Contents) -> Path:
        """Starts to write; returns the path that the .safetensors file will have."""
        self.wait()
        path = checkpoint.reserve(self.run_dir, contents.nimg)
        self._background.start(
            lambda: checkpoint.write(
                contents, path, keep_last=self.keep_last, keep_every_nimg=self.keep_every_nimg
            )
        )
        return path.with_suffix(".safetensors")

    def wait(self) -> None:
        """Waits until everything is on the disk."""
        self._background.wait()

    def raise_error(self) -> None:
        """Raises the thread's error, if it has ended with one; never waits."""
        self._background.raise_error()

    def note_score(
        self, path: Path, metric: str, score: retention.Score, *, lower_is_better: bool
    ) -> None:
        """Notes the metric of the checkpoint at path, so that the best one is kept."""
        try:
            retention.note_score(path.parent, path, metric, score, lower_is_better=lower_is_better)
        except OSError as error:
            raise checkpoint.refused(path.parent, error) from error

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            return
        try:
            self.wait()
        except CheckpointError as own:
            if error is None:
                raise
            if own is not error:
                error.add_note(str(own))
