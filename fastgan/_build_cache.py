# SPDX-License-Identifier: Apache-2.0
"""The libraries that are there: in the package, and in the cache folder of `fastgan build`.

A library from anywhere but this user, or one that a power cut or a full disk tore, is not loaded:
the first call into it would run foreign code, or end the process.
"""

import os
import stat
import struct
from pathlib import Path

from fastgan._build import (
    BuildError,
    build,
    cache_folder,
    is_recorded,
    library_suffix,
    locked,
    record,
)


def installed_library(name: str) -> Path | None:
    """The library that installation put into the package, if it is there and not cut short."""
    path = Path(__file__).resolve().parent / f"{name}{library_suffix()}"
    return path if path.is_file() and not is_cut_short(path) else None


def is_cut_short(library: Path) -> bool:
    """Whether an ELF file ends before its section headers, which are its last part."""
    with library.open("rb") as file:
        head = file.read(64)
    if not head.startswith(b"\x7fELF\x02\x01"):  # 64 bits, little-endian
        return not head
    if len(head) < 64:
        return True
    (offset,) = struct.unpack_from("<Q", head, 40)
    entry_size, entries = struct.unpack_from("<HH", head, 58)
    return library.stat().st_size < offset + entry_size * entries


def cached_library(name: str) -> Path | None:
    """A library that `fastgan build` made from these very sources, if it is there and usable."""
    path = cache_folder() / f"{name}{library_suffix()}"
    return path if os.path.lexists(path) and not cache_fault(name) else None


def cache_fault(name: str) -> str:
    """Why the library in the cache is not loaded; "" where it is not there, or is fine."""
    path = cache_folder() / f"{name}{library_suffix()}"
    if not os.path.lexists(path):
        return ""
    for owned, is_kind in ((path, stat.S_ISREG), (path.parent, stat.S_ISDIR)):
        info = owned.lstat()
        if not is_kind(info.st_mode):
            return f"{owned} is a link, or of another kind than `fastgan build` makes; remove it"
        if hasattr(os, "getuid") and info.st_uid != os.getuid():
            return f"{owned} belongs to another user; remove it, or set FASTGAN_CACHE_DIR"
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"others may write {owned}; remove it, or set FASTGAN_CACHE_DIR"
    if not is_recorded(path):
        return f"{path} is damaged: it is not what its manifest records"
    return ""


def build_cached(name: str = "_C", *, force: bool = False) -> Path:
    """Bring `name` in the per-user cache (folder mode 0700) up to date; returns its path.

    Raises BuildError where it can't be built, or the folder belongs to another user.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(os, "getuid") and folder.lstat().st_uid != os.getuid():
        raise BuildError(
            f"build: {folder} belongs to another user; remove it, or set FASTGAN_CACHE_DIR to a "
            "folder of yours"
        )
    folder.chmod(0o700)
    output = folder / f"{name}{library_suffix()}"
    with locked(folder):
        for left in folder.glob(f".{output.name}.*"):  # of builds that were killed
            left.unlink()
        build(name, output, force=force)
        output.chmod(0o700)
        if not is_recorded(output):
            record(output)
    return output
