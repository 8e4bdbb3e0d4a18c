# SPDX-License-Identifier: Apache-2.0
"""One process trains in a run folder at a time."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["RunFolderInUse", "check_free", "owned"]


class RunFolderInUse(OSError):
    """Another process trains in a run folder."""


@contextlib.contextmanager
def owned(run_dir: Path) -> Iterator[None]:
    """A context in which no other process can train in the folder.

    The folder itself is locked (`flock`): nothing is left behind, and the system drops the lock
    with the process, however that ends. A file system without such locks is used without one.

    Args:
        run_dir: made where it does not exist, and removed again where it stays empty.

    Raises:
        RunFolderInUse: another process, or another call in this one, has it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    handle = os.open(run_dir, os.O_RDONLY)
    try:
        _lock(handle, run_dir)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # it has files, or was removed meanwhile
                run_dir.rmdir()
    finally:
        os.close(handle)


def check_free(run_dir: Path) -> None:
    """Checks that no process trains in the folder now; writes nothing.

    Args:
        run_dir: may be missing.

    Raises:
        RunFolderInUse: another process, or another call in this one, has it.
    """
    if not run_dir.is_dir():
        return
    handle = os.open(run_dir, os.O_RDONLY)
    try:
        _lock(handle, run_dir)
    finally:
        os.close(handle)


def _lock(handle: int, run_dir: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise RunFolderInUse(
                f"another process is training in {run_dir}, and two would overwrite each other's "
                "files; wait for it, stop it, or begin another run"
            ) from None
