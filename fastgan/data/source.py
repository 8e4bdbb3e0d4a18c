"""Where the bytes of a data set are: a folder, or a zip that each process opens for itself."""

import json
import os
import threading
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


class FolderSource:
    """Pictures under a folder, at any depth; names are paths relative to it, with "/"."""

    def __init__(self, path: Path) -> None:
        self.path = path
        files = (p for p in path.rglob("*") if p.is_file())
        self.names = _pictures(p.relative_to(path).as_posix() for p in files)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()


class ZipSource:
    """Pictures in a zip, at any depth. Every process opens the file for itself, at its first read.

    A handle that crossed a fork would share its file position with the parent's, so the handle is
    remembered together with the process that opened it, and stays behind when this object is sent
    to another process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()
        entries = [e.filename for e in self._archive().infolist() if not e.is_dir()]
        self._entries = frozenset(entries)
        self.names = _pictures(entries)

    def read(self, name: str) -> bytes:
        try:
            return self._archive().read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as e:
            # RuntimeError is what zipfile raises for an encrypted entry.
            raise ValueError(f"{name} in {self.path} can't be read from the zip: {e}") from e

    def has(self, name: str) -> bool:
        return name in self._entries

    def _archive(self) -> zipfile.ZipFile:
        if self._owner != os.getpid():
            self._forget()  # the lock too: a thread of the parent may have held it at the fork
        with self._lock:
            if self._handle is None:
                try:
                    self._handle = zipfile.ZipFile(self.path)
                except zipfile.BadZipFile as error:
                    raise ValueError(
                        f"{self.path} is not a whole zip file ({error}): it may have been cut "
                        f"short while it was copied; copy or make it again"
                    ) from error
            return self._handle

    def _forget(self) -> None:
        self._handle, self._owner, self._lock = None, os.getpid(), threading.Lock()

    def __getstate__(self) -> dict:
        return {k: v for k, v in vars(self).items() if k not in ("_handle", "_owner", "_lock")}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._forget()


def open_source(path: str | Path) -> FolderSource | ZipSource:
    """The source at `path`. Its `names` are the pictures (`SUFFIXES`, any case) in sorted order.

    Hidden files and what macOS adds to zips (`.name`, `__MACOSX/`) don't count. Raises
    FileNotFoundError, or ValueError for another kind of file, a broken zip, or no picture at all.
    """
    path = Path(path)
    if path.is_dir():
        source = FolderSource(path)
    elif path.suffix.lower() == ".zip" and path.is_file():
        source = ZipSource(path)
    elif path.exists():
        raise ValueError(f"data set {path}: expected a folder or a .zip, got another kind of file")
    else:
        raise FileNotFoundError(
            f"data set {path} doesn't exist; name a folder or a .zip of pictures "
            f"({', '.join(sorted(SUFFIXES))}), or leave it out for the built-in cartoon faces"
        )
    if not source.names:
        raise ValueError(
            f"data set {path} has no picture ({', '.join(sorted(SUFFIXES))}) at any depth; other "
            f"formats must be converted first"
        )
    return source


def read_json(source: FolderSource | ZipSource, name: str) -> object | None:
    """The JSON document `name` of the source, None where there is none; ValueError if broken."""
    if not source.has(name):
        return None
    try:
        return json.loads(source.read(name))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} in {source.path} is not valid JSON: {error}") from error


def _pictures(names: Iterable[str]) -> list[str]:
    def is_picture(name: str) -> bool:
        path = PurePosixPath(name)
        is_hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
        return path.suffix.lower() in SUFFIXES and not is_hidden

    return sorted(name for name in names if is_picture(name))
