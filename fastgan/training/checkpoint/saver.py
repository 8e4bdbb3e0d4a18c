"""Checkpoints written beside the training: the run goes on while the disk works."""

from pathlib import Path
from types import TracebackType

from fastgan.training.checkpoint import checkpoint, retention
from fastgan.training.checkpoint.background import Background
from fastgan.training.checkpoint.contents import Contents
from fastgan.training.checkpoint.file import CheckpointError

__all__ = ["Saver"]


class Saver:
    """Writes staged contents into run_dir/checkpoints in a thread, and tidies up there.

    One at a time: a second `save` waits for the first. A disk that can't keep up thus slows the run
    instead of lengthening what a crash loses: the time between two checkpoints, plus what was
    trained while the newer of them was being written.

    CheckpointError, naming the folder, at the next call after the disk has refused; the older
    checkpoints are intact and nothing is left of the new one. As a context manager it waits at the
    end, but for Ctrl-C, where the thread finishes the file by itself.
    """

    def __init__(
        self, run_dir: Path, *, keep_last: int = 3, keep_every_nimg: float | None = None
    ) -> None:
        self.run_dir, self.keep_last, self.keep_every_nimg = run_dir, keep_last, keep_every_nimg
        self._background = Background("fastgan-checkpoint")

    def save(self, contents: Contents) -> Path:
        """Begins to write; returns where the .safetensors will be."""
        self.wait()
        path = checkpoint.reserve(self.run_dir, contents.nimg)
        self._background.start(
            lambda: checkpoint.write(
                contents, path, keep_last=self.keep_last, keep_every_nimg=self.keep_every_nimg
            )
        )
        return path.with_suffix(".safetensors")

    def wait(self) -> None:
        """Returns when all that was to be saved is on the disk."""
        self._background.wait()

    def raise_error(self) -> None:
        """Raises what the thread met, without waiting for it."""
        self._background.raise_error()

    def note_score(self, path: Path, metric: str, value: float) -> None:
        """Tells the run's metric of the checkpoint at path, so that the best one stays."""
        try:
            retention.note_score(path.parent, path, metric, value)
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
