"""Write a data set in the StyleGAN layout, all or nothing."""

import contextlib
import json
import os
import secrets
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed date: the same pictures give the same bytes


class StyleGANZipWriter:
    """Context manager writing `00000/img00000000.png`, … and `dataset.json` to an uncompressed zip.

    The zip grows under a unique temporary name beside `path`; leaving the block without an
    exception completes it, flushes it to the disk (fsync) and renames it to `path` in one step. An
    exception removes it. So `path` never names a half-written file, and processes that write the
    same `path` at once don't disturb each other.

    `labels` handed to `finish` becomes {"labels": [[name, label], …]}, or {"labels": null}.
    Raises FileExistsError at entry when `path` exists and `overwrite` is False.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.overwrite = overwrite
        self.names: list[str] = []
        self._is_finished = False

    def __enter__(self) -> Self:
        self._refuse_existing()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.path.with_name(f".{self.path.stem}-{secrets.token_hex(8)}.tmp")
        self._file = self._temporary.open("x+b")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)
        return self

    def add(self, png: bytes) -> str:
        """Append one encoded picture and return the name that it got."""
        index = len(self.names)
        name = f"{index // 1000:05d}/img{index:08d}.png"
        self._write(name, png)
        self.names.append(name)
        return name

    def add_json(self, name: str, value: object) -> None:
        """Append a JSON document, e.g. attributes.json."""
        self._write(name, json.dumps(value, ensure_ascii=False).encode())

    def finish(self, labels: Sequence[object] | None, **more: object) -> None:
        """Append dataset.json; `labels` has one entry per picture, `more` are further keys."""
        if labels is not None and len(labels) != len(self.names):
            raise ValueError(
                f"StyleGANZipWriter.finish: labels must have one entry per picture "
                f"({len(self.names)}), got {len(labels)}"
            )
        pairs = None if labels is None else [list(p) for p in zip(self.names, labels, strict=True)]
        self.add_json("dataset.json", {"labels": pairs, **more})
        self._is_finished = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            # An abandoned ZipFile would write its directory when it is collected, into a closed
            # file. Here what it writes is thrown away, so a full disk doesn't matter.
            with contextlib.suppress(OSError):
                self._zip.close()
            self._file.close()
            self._temporary.unlink(missing_ok=True)

    def _publish(self) -> None:
        if not self._is_finished:
            raise RuntimeError("StyleGANZipWriter: call finish(labels) before the block ends")
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._refuse_existing()
        self._temporary.replace(self.path)
        if os.name == "posix":
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _refuse_existing(self) -> None:
        if self.path.exists() and not self.overwrite:
            raise FileExistsError(
                f"{self.path} exists already; pass overwrite=True to replace it, or choose "
                f"another name"
            )

    def _write(self, name: str, data: bytes) -> None:
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.external_attr = 0o644 << 16
        self._zip.writestr(entry, data, compress_type=zipfile.ZIP_STORED)
