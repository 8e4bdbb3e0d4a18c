# SPDX-License-Identifier: Apache-2.0
"""Folders of files in the cache, found by a hash of what they are made of.

A folder appears whole or not at all. Beside its files it has files.json, their sizes and SHA-256:
what is damaged is made again. The folders together stay below a size: the ones that were not used
for longest are deleted.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

from fastgan.atomic import new_folder, write_atomic
from fastgan.data.cached_sets import make_in_cache

__all__ = ["kept_files"]

_FACTS = "files.json"


def kept_files(folder: Path, make: Callable[[Path], None], *, most_bytes: int) -> dict[str, Path]:
    """The files of a folder of the cache, which is made where it is missing or damaged.

    Args:
        folder: named by a hash of all that its files depend on.
        make: make(path) writes the files into an empty folder.
        most_bytes: of this folder and those beside it together, unless this one alone is larger.

    Returns:
        {name: path}.

    Raises:
        OSError: the cache folder can't be written; the message says how to choose another one.
            What `make` raises passes through, and nothing is kept.
    """
    found = _intact(folder)
    if found is None:
        if folder.exists():
            warnings.warn(f"{folder} is damaged, and is made again", stacklevel=2)
            shutil.rmtree(folder)
        make_in_cache(folder, lambda path: _fill(path, make))
        found = _intact(folder)
        assert found is not None, folder
    os.utime(folder)  # used now
    _delete_oldest(folder, most_bytes)
    return found


def _fill(folder: Path, make: Callable[[Path], None]) -> None:
    try:
        with new_folder(folder) as scratch:
            make(scratch)
            facts = {path.name: _facts(path) for path in sorted(scratch.iterdir())}
            write_atomic(scratch / _FACTS, json.dumps(facts))
    except OSError:
        if _intact(folder) is None:  # else another process has made the same meanwhile
            raise


def _facts(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


def _intact(folder: Path) -> dict[str, Path] | None:
    try:
        facts = json.loads((folder / _FACTS).read_bytes())
        names = {path.name for path in folder.iterdir()} - {_FACTS}
        if names != set(facts) or any(_facts(folder / name) != facts[name] for name in names):
            return None
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return {name: folder / name for name in facts}


def _delete_oldest(newest: Path, most_bytes: int) -> None:
    """Errors are left alone: another process may delete the same."""
    rows = []
    for folder in newest.parent.iterdir():
        try:
            size = sum(path.stat().st_size for path in folder.iterdir())
            rows.append((folder != newest, -folder.stat().st_mtime, size, folder))
        except OSError:
            continue  # no folder, or one that another process deletes
    total = 0
    for is_other, _, size, folder in sorted(rows):
        total += size
        if is_other and total > most_bytes:
            shutil.rmtree(folder, ignore_errors=True)
