# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are either the old ones or the new ones, never half of one.

Everything is written under a temporary name beside its place and then renamed. A reader, or a run
that is killed, sees the old or the new content at any time. What is `is_durable` is also forced to
the disk (fsync) before the rename; without it a power cut may leave neither.

What others may read and write is decided by the person's umask, as for any new file.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_LEFT = re.compile(r"[0-9a-f]{16}")  # the end of a temporary name
_MARKED_WITHIN_SECONDS = 60  # between a temporary file's beginning and its mark


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Names `path` and what to do where nothing can be written beside it."""
    try:
        yield
    except OSError as error:
        raise type(error)(
            f"{path} cannot be written: {path.parent} is no folder in which files can be made "
            f"({error.strerror or error}); create that folder, or choose another path"
        ) from error


def make_parents(path: Path) -> None:
    """Make the folder of the file `path`, and its parents, where they do not exist.

    Args:
        path: the file.

    Raises:
        OSError: they can't be made; the message names `path`.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)


def missing_folders(path: Path) -> list[Path]:
    """Those of a path and its parents that do not exist, the innermost first."""
    missing = []
    for folder in (path, *path.parents):
        if folder.exists():
            break
        missing.append(folder)
    return missing


def check_may_write(path: Path) -> None:
    """OSError, which names the folder, where nothing can be made in `path`, a folder or none."""
    missing = missing_folders(path)
    folder = missing[-1].parent if missing else path
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))


@contextlib.contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Names the file in errors of writing, in which the system does not name it.

    Args:
        path: the file.

    Yields:
        Nothing.

    Raises:
        OSError: the disk is full, or writing failed otherwise; the message names `path`.
    """
    try:
        yield
    except OSError as error:
        is_plain = error.filename is None and error.errno is not None
        if not is_plain or error.strerror != os.strerror(error.errno):
            raise
        named = type(error)(
            f"{path} cannot be written: {error.strerror}; free space there, or choose another path"
        )
        named.errno = error.errno
        raise named from error


def append(path: Path, text: str) -> None:
    """Add text at the end of a file, which is made where it does not exist.

    Args:
        path: the file; its folder must exist.
        text: written as UTF-8, and passed to the system before this returns.

    Raises:
        OSError: it can't be written; the message names `path`.
    """
    with naming_full_disk(path), path.open("a", encoding="utf-8") as file:
        file.write(text)


def write_atomic(path: Path, data: bytes | str, *, is_durable: bool = False) -> None:
    """Replace the file `path` by `data`.

    Args:
        path: the file; its folder must exist.
        data: the new content; text is written as UTF-8.
        is_durable: whether the content is forced to the disk.
    """
    with open_atomic(path, is_durable=is_durable) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextlib.contextmanager
def open_atomic(
    path: Path, *, is_durable: bool = False, overwrite: bool = True
) -> Iterator[BinaryIO]:
    """A new binary file that becomes `path` when the block ends without an exception.

    After an exception `path` is as it was and nothing else is left behind. Several processes may
    write the same path at once.

    Args:
        path: the file; its folder must exist.
        is_durable: whether the content and the folder's entry are forced to the disk.
        overwrite: whether an existing file may be replaced.

    Yields:
        The file, open for writing and reading; its `name` is the temporary path.

    Raises:
        FileExistsError: `path` exists at the start or at the end, and `overwrite` is False.
    """
    _refuse_existing(path, overwrite)
    temporary = _beside(path)
    with _naming(path):
        file = temporary.open("x+b")
    held = _hold(temporary)
    try:
        with naming_full_disk(path):
            yield file
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
            file.close()
        _refuse_existing(path, overwrite)
        temporary.replace(path)
        if is_durable:
            sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):  # a full disk refuses the last buffer again
            file.close()
        os.close(held)
        temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A name in the same folder that no other process takes; long names are shortened.

    What killed processes left of the same file is removed.
    """
    stem = f".{path.name[:40]}."
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(stem) and _LEFT.fullmatch(entry.name, len(stem)):
                _remove_if_left(Path(entry.path))
    return path.with_name(f"{stem}{secrets.token_hex(8)}")


def _hold(path: Path) -> int:
    """Mark a file or folder as being written, until the descriptor is closed or we end."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def _remove_if_left(path: Path) -> None:
    """Remove what nobody writes any more: it is not marked, and a minute has passed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.time() - os.fstat(handle).st_mtime < _MARKED_WITHIN_SECONDS:
            return
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return  # another process writes it, or the file system has no locks
    finally:
        os.close(handle)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists already; pass overwrite=True to replace it, or choose another name"
        )


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A new folder that appears as `path` when the block ends without an exception.

    Args:
        path: the folder, which must not exist; its parents are made.

    Yields:
        The temporary folder that the block fills; it is deleted after an exception.
    """
    make_parents(path)
    scratch = _beside(path)
    with _naming(path):
        scratch.mkdir()
    held = _hold(scratch)
    try:
        yield scratch
        scratch.replace(path)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    finally:
        os.close(held)


def sync_folder(folder: Path) -> None:
    """Force the names in `folder` to the disk, where the system can do that.

    Args:
        folder: the folder of a file that was renamed.
    """
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
