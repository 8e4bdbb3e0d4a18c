# SPDX-License-Identifier: Apache-2.0
"""Where the encoded images of a data set come from: a folder, a zip or tars."""

import lzma
import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from fastgan.data.image_names import SUFFIXES, image_names_of, normal_name, unread_suffixes
from fastgan.data.tar_shards import TarSource, tars_of
from fastgan.json_forms import FormError, parse

_DOCUMENT = "dataset.json"
_ZIP_DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError,
    NotImplementedError, struct.error, KeyError, UnicodeError, OverflowError,
)  # fmt: skip
_MOST_UNPACKED = 2**26  # bytes of an entry that the zip may hold in less than a hundredth


class FolderSource:
    """Images under a folder, at any depth; names are paths relative to it (`normal_name`).

    Links to files and to folders are followed; a folder that contains itself is entered once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = _by_normal_name(_files_under(path), path)
        self.names = image_names_of(self.files)
        self.unread = unread_suffixes(self.files)

    def read(self, name: str) -> bytes:
        return (self.path / self.files[name]).read_bytes()

    def has(self, name: str) -> bool:
        return name in self.files


class ZipSource:
    """Images in a zip, at any depth. Every process opens the file for itself, at its first read.

    A handle that crossed a fork would share its file position with the parent's, so the handle is
    remembered together with the process that opened it, and stays behind when this object is sent
    to another process.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget()
        entries = dict.fromkeys(
            e.filename for e in self._archive().infolist() if e.filename and not e.is_dir()
        )
        self.files = _by_normal_name(entries, path)
        self.names = image_names_of(self.files)
        self.unread = unread_suffixes(self.files)

    def read(self, name: str) -> bytes:
        try:
            entry = self._archive().getinfo(self.files[name])
            if entry.file_size > max(_MOST_UNPACKED, 100 * entry.compress_size):
                raise ValueError(
                    f"{name} in {self.path} has {entry.file_size:,} bytes when unpacked and "
                    f"{entry.compress_size:,} in the zip: no image and no list of labels is so; "
                    f"remove it"
                )
            return self._archive().read(entry)
        except _ZIP_DAMAGE as e:
            # RuntimeError is what zipfile raises for an encrypted entry.
            raise ValueError(f"{name} in {self.path} can't be read from the zip: {e}") from e

    def has(self, name: str) -> bool:
        return name in self.files

    def _archive(self) -> zipfile.ZipFile:
        if self._owner != os.getpid():
            self._forget()  # the lock too: a thread of the parent may have held it at the fork
        with self._lock:
            if self._handle is None:
                try:
                    self._handle = zipfile.ZipFile(self.path)
                except (FileNotFoundError, PermissionError):
                    raise
                except (*_ZIP_DAMAGE, ValueError) as error:
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
            f"data set {path} has no image ({', '.join(sorted(SUFFIXES))}) at any depth"
            f"{unread_words(source.unread)}"
        )
    return source


def unread_words(unread: dict[str, int]) -> str:
    """Which pictures of a source are not read, and what to do; "" where there are none."""
    if not unread:
        return ""
    counted = ", ".join(f"{count} {suffix}" for suffix, count in unread.items())
    return f"; not read: {counted} (convert them to .png, for example with ImageMagick)"


def read_json(source: Source, name: str) -> object | None:
    """The JSON document `name` of the source, None where there is none; ValueError if broken."""
    if not source.has(name):
        return None
    try:
        return parse(source.read(name))
    except FormError as error:
        raise ValueError(f"{name} in {source.path} is not valid JSON: {error}") from error


def label_document(source: Source) -> tuple[object | None, str]:
    """(dataset.json of the source, its folder as "" or "FOLDER/").

    It may lie in a folder that holds all images, as where a folder was zipped with its name. Of
    tars without one, it is what stands beside the images.
    """
    if source.has(_DOCUMENT):
        return read_json(source, _DOCUMENT), ""
    if isinstance(source, TarSource) and (beside := source.sidecar_labels()) is not None:
        return beside, ""
    for name in sorted(f for f in source.files if f.rpartition("/")[2] == _DOCUMENT):
        folder = name.removesuffix(_DOCUMENT)
        if all(image.startswith(folder) for image in source.names):
            return read_json(source, name), folder
    return None, ""


def _files_under(path: Path) -> list[str]:
    """Paths relative to `path`, with "/", of all files below."""
    found, entered = [], set()
    for folder, folders, files in os.walk(path, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        here = Path(folder)
        found += [(here / name).relative_to(path).as_posix() for name in files]
    return [name for name in found if (path / name).is_file()]


def _by_normal_name(names: Iterable[str], path: Path) -> dict[str, str]:
    """{normal name: name}. ValueError where two names have one normal form."""
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(normal_name(name), name)
        if other != name:
            raise ValueError(
                f"data set {path} has both {other!r} and {name!r}, which mean one file on some "
                f"systems; rename or remove one"
            )
    return found
