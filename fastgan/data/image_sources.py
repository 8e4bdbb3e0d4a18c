"""Where the encoded images of a data set come from: a folder, a zip or tars."""

import json
import os
import threading
import zipfile
import zlib
from pathlib import Path

from fastgan.data.image_names import SUFFIXES, image_names_of
from fastgan.data.tar_shards import TarSource, tars_of


class FolderSource:
    """Images under a folder, at any depth; names are paths relative to it, with "/"."""

    def __init__(self, path: Path) -> None:
        self.path = path
        files = (p for p in path.rglob("*") if p.is_file())
        self.names = image_names_of(p.relative_to(path).as_posix() for p in files)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()


class ZipSource:
    """Images in a zip, at any depth. Every process opens the file for itself, at its first read.

    A handle that crossed a fork would share its file position with the parent's, so the handle is
    remembered together with the process that opened it, and stays behind when this object is sent
    to another process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()
        entries = [e.filename for e in self._archive().infolist() if not e.is_dir()]
        self._entries = frozenset(entries)
        self.names = image_names_of(entries)

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


Source = FolderSource | ZipSource | TarSource


def open_source(path: str | Path) -> Source:
    """The source at `path`. Its `names` are the images (`SUFFIXES`, any case) in sorted order.

    A folder without images but with .tar files is read as shards. Hidden files and what macOS
    adds to zips (`.name`, `__MACOSX/`) don't count. Raises FileNotFoundError, or ValueError for
    another kind of file, a broken zip or tar, or no image at all.
    """
    path = Path(path)
    if path.is_dir():
        source = FolderSource(path)
        if not source.names and tars_of(path):
            source = TarSource(path, tars_of(path))
    elif path.suffix.lower() == ".zip" and path.is_file():
        source = ZipSource(path)
    elif path.suffix.lower() == ".tar" and path.is_file():
        source = TarSource(path, [path])
    elif path.exists():
        raise ValueError(
            f"data set {path}: expected a folder, a .zip, a .tar or a .fgpack, got another kind of "
            f"file"
        )
    else:
        raise FileNotFoundError(
            f"data set {path} doesn't exist; name a folder or a .zip of images "
            f"({', '.join(sorted(SUFFIXES))}), or leave it out for the built-in cartoon faces"
        )
    if not source.names:
        raise ValueError(
            f"data set {path} has no image ({', '.join(sorted(SUFFIXES))}) at any depth; other "
            f"formats must be converted first"
        )
    return source


def read_json(source: Source, name: str) -> object | None:
    """The JSON document `name` of the source, None where there is none; ValueError if broken."""
    if not source.has(name):
        return None
    try:
        return json.loads(source.read(name))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} in {source.path} is not valid JSON: {error}") from error


def label_document(source: Source) -> object | None:
    """dataset.json of the source; of tars without one, what stands beside the images."""
    if isinstance(source, TarSource) and not source.has("dataset.json"):
        return source.sidecar_labels()
    return read_json(source, "dataset.json")
