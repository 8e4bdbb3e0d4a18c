# SPDX-License-Identifier: Apache-2.0
"""Write a data set as a zip in the StyleGAN layout; the file appears whole or not at all."""

import contextlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from fastgan.atomic import make_parents, open_atomic

_EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed date: the same images give the same bytes


class StyleGANZipWriter:
    """Writes `00000/img00000000.png`, … and `dataset.json` to an uncompressed zip.

    Args:
        file: the empty file that becomes the zip.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.names: list[str] = []
        self.is_finished = False
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)

    def add(self, png: bytes) -> str:
        """Append one encoded image and return the name that it got."""
        index = len(self.names)
        name = f"{index // 1000:05d}/img{index:08d}.png"
        self._write(name, png)
        self.names.append(name)
        return name

    def add_json(self, name: str, value: object) -> None:
        """Append a JSON document, for example attributes.json."""
        self._write(name, json.dumps(value, ensure_ascii=False).encode())

    def finish(self, labels: Sequence[object] | None, **more: object) -> None:
        """Append dataset.json: {"labels": [[name, label], …]}, or {"labels": null}, and `more`.

        Args:
            labels: one label for each image that was added, or None.
            **more: further keys of dataset.json.

        Raises:
            ValueError: another number of labels than of images.
        """
        if labels is not None and len(labels) != len(self.names):
            raise ValueError(
                f"StyleGANZipWriter.finish: labels must have one entry per image "
                f"({len(self.names)}), got {len(labels)}"
            )
        pairs = None if labels is None else [list(p) for p in zip(self.names, labels, strict=True)]
        self.add_json("dataset.json", {"labels": pairs, **more})
        self.is_finished = True

    def close(self) -> None:
        """Write the zip's directory; a second call does nothing."""
        self._zip.close()

    def _write(self, name: str, data: bytes) -> None:
        entry = zipfile.ZipInfo(name, _EPOCH)
        entry.external_attr = 0o644 << 16
        self._zip.writestr(entry, data, compress_type=zipfile.ZIP_STORED)


@contextlib.contextmanager
def write_stylegan_zip(path: str | Path, *, overwrite: bool = False) -> Iterator[StyleGANZipWriter]:
    """A writer whose zip becomes `path` when the block ends without an exception.

    Args:
        path: the zip; its folder is made.
        overwrite: whether an existing file may be replaced.

    Yields:
        A `StyleGANZipWriter`, whose `finish` the block must call.

    Raises:
        FileExistsError: `path` exists, and `overwrite` is False.
        RuntimeError: the block ended without a call of `finish`.
    """
    path = Path(path)
    make_parents(path)
    with open_atomic(path, is_durable=True, overwrite=overwrite) as file:
        writer = StyleGANZipWriter(file)
        try:
            yield writer
            if not writer.is_finished:
                raise RuntimeError("write_stylegan_zip: call finish(labels) before the block ends")
            writer.close()
        finally:
            # An abandoned ZipFile would write its directory when it is collected, into a closed
            # file. Here what it writes is thrown away, so a full disk doesn't matter.
            with contextlib.suppress(OSError):
                writer.close()
