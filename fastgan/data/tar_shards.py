# SPDX-License-Identifier: Apache-2.0
"""Images in uncompressed tars, webdataset's layout: KEY.png (or .jpg, …) beside KEY.cls or .json.

A tar has no directory, but its members lie in one piece each, so a list of offsets gives random
access by one read at an offset. `write_index` writes that list beside a tar as NAME.tar.index; a
tar without one is scanned when it is opened, header by header. (The webdataset package streams the
shards through a shuffle buffer, so that the order depends on what was read before; a run that
resumes needs an order that is a function of seed and position. So the package is not used.)
"""

import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from fastgan.atomic import write_atomic
from fastgan.data.image_names import image_names_of, normal_name, unread_suffixes
from fastgan.data.labels import Label
from fastgan.json_forms import FormError, entries, fields, one_of, parse, rows, text, whole

FORMAT = "fastgan-tar-index-1"
_BLOCK = 512  # bytes of a member's header

Member = tuple[str, int, int]  # name, offset, size
_FORM = fields({
    "format": one_of(FORMAT),
    "tar_bytes": whole(),
    "members": rows(entries(text(), whole(_BLOCK), whole())),
})  # fmt: skip


class TarSource:
    """Images of one tar, or of all tars of a folder; of several, names begin with the tar's.

    Every read opens the tar for itself: nothing is shared between threads or processes.
    """

    def __init__(self, path: Path, tars: Sequence[Path]) -> None:
        self.path = path
        self.files: dict[str, tuple[Path, int, int]] = {}
        for tar in tars:
            prefix = f"{tar.name}/" if len(tars) > 1 else ""
            index = index_path(tar)
            members = read_index(tar) if index.is_file() else scan(tar)
            self.files |= {
                prefix + normal_name(name): (tar, at, size) for name, at, size in members
            }
        self.names = image_names_of(self.files)
        self.unread = unread_suffixes(self.files)

    def read(self, name: str) -> bytes:
        tar, offset, size = self.files[name]
        file = os.open(tar, os.O_RDONLY)
        try:
            data = os.pread(file, size, offset)
        finally:
            os.close(file)
        if len(data) != size:
            raise ValueError(
                f"{name} in {self.path} is cut short ({len(data)} of {size} bytes): {tar.name} has "
                f"changed since it was opened; copy the file again and restart"
            )
        return data

    def has(self, name: str) -> bool:
        return name in self.files

    def sidecar_labels(self) -> dict[str, list] | None:
        """dataset.json's form of KEY.cls (an int) or the "label" of KEY.json; None: there is none.

        A KEY.json without "label" holds something else, such as the captions of img2dataset.
        Raises ValueError naming a file whose content is neither.
        """
        pairs = []
        for name in self.names:
            stem = str(PurePosixPath(name).with_suffix(""))
            found = next((stem + end for end in (".cls", ".json") if self.has(stem + end)), None)
            label = None if found is None else self._label(found)
            if label is not None:
                pairs.append([name, label])
        return {"labels": pairs} if pairs else None

    def _label(self, name: str) -> Label | None:
        try:
            value = parse(self.read(name))
        except ValueError as error:
            raise ValueError(
                f'{name} in {self.path} holds no label ({error}), expected an int or {{"label": '
                f"int or list of numbers}}; leave labels off, or write the tars again"
            ) from error
        return value.get("label") if isinstance(value, dict) else value


def index_path(tar: Path) -> Path:
    return tar.with_name(tar.name + ".index")


def scan(tar: Path) -> list[Member]:
    """Every regular file of `tar`, by reading each header. ValueError for a damaged tar."""
    try:
        with tarfile.open(tar, "r:") as archive:  # "r:" takes no compression
            members = []
            while (entry := archive.next()) is not None:
                if entry.isreg():
                    members.append((entry.name.removeprefix("./"), entry.offset_data, entry.size))
                archive.members.clear()  # a million TarInfos would be a gigabyte
    except tarfile.TarError as error:
        raise ValueError(
            f"{tar} is not a whole uncompressed tar ({error}); copy it again, or unpack and write "
            f"it again without compression"
        ) from error
    return members


def write_index(tar: Path) -> Path:
    """Scan `tar` and write its index beside it."""
    members = scan(tar)
    document = {"format": FORMAT, "tar_bytes": tar.stat().st_size, "members": members}
    write_atomic(index_path(tar), json.dumps(document), is_durable=True)
    return index_path(tar)


def index_tars(path: Path, progress: Callable[[int, int], None] | None = None) -> list[Path]:
    """`write_index` of a tar, or of every tar of a folder."""
    tars = tars_of(path)
    if not tars:
        raise ValueError(f"{path} is no .tar and no folder with .tar files; nothing to index")
    written = []
    for tar in tars:
        written.append(write_index(tar))
        if progress is not None:
            progress(len(written), len(tars))
    return written


def tars_of(path: Path) -> list[Path]:
    return sorted(path.glob("*.tar")) if path.is_dir() else [path] * (path.suffix == ".tar")


def read_index(tar: Path) -> list[Member]:
    """The members that the index of `tar` names. ValueError where it is another tar's.

    Checked without reading the tar: its size, and that the last member named has a header there.
    """
    index = index_path(tar)
    fix = f"make it again with `fastgan data index {tar}`, or remove it"
    try:
        document = parse(index.read_bytes(), _FORM)
    except FormError as error:
        raise ValueError(f"{index} is not a tar's index ({error}); {fix}") from error
    size, members = document["tar_bytes"], document["members"]
    is_within = all(offset + length <= size for _, offset, length in members)
    if size != tar.stat().st_size or (members and not _has_header(tar, members[-1])):
        is_within = False
    if not is_within:
        raise ValueError(f"{index} does not belong to {tar.name} as it is now; {fix}")
    return members


def _has_header(tar: Path, member: Member) -> bool:
    """Whether a header with a right checksum and this size ends where the member begins.

    Names are not compared: long and foreign ones stand in headers of their own.
    """
    _, offset, size = member
    with tar.open("rb") as file:
        file.seek(max(offset - _BLOCK, 0))
        try:
            entry = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "surrogateescape")
        except tarfile.TarError:
            return False
    return entry.size == size
