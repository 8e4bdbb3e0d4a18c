"""Write a data set in the StyleGAN layout, all or nothing."""

import contextlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fastgan.data.whole_file import WholeFile

_EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed date: the same pictures give the same bytes


class StyleGANZipWriter:
    """Context manager writing `00000/img00000000.png`, … and `dataset.json` to an uncompressed zip.

    Leaving the block without an exception completes the zip and publishes it (`WholeFile`); an
    exception removes it.

    `labels` handed to `finish` becomes {"labels": [[name, label], …]}, or {"labels": null}.
    Raises FileExistsError at entry when `path` exists and `overwrite` is False.
    """

    def __init__(self, path: str | Path, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self._whole = WholeFile(path, overwrite=overwrite)
        self.names: list[str] = []
        self._is_finished = False

    def __enter__(self) -> Self:
        self._whole.__enter__()
        self._zip = zipfile.ZipFile(self._whole.file, "w", zipfile.ZIP_STORED)
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
            self._whole.__exit__(kind, error, traceback)

    def _publish(self) -> None:
        if not self._is_finished:
            raise RuntimeError("StyleGANZipWriter: call finish(labels) before the block ends")
        self._zip.close()
        self._whole.publish()

    def _write(self, name: str, data: bytes) -> None:
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.external_attr = 0o644 << 16
        self._zip.writestr(entry, data, compress_type=zipfile.ZIP_STORED)
