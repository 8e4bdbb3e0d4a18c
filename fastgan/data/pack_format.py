# SPDX-License-Identifier: Apache-2.0
"""The file of a packed data set, `.fgpack`: raw pixels between a hashed preamble and hashed tables.

    0       preamble, 4096 bytes: magic "fgpack\\r\\n", version u32, length u32 of the JSON,
            SHA-256 of the JSON, the JSON, zeros. Little-endian throughout
    4096    pixels uint8 [N, C, H, W], nothing between the images
            blocks [⌈N / block⌉, 32] uint8: SHA-256 of each `block` images
            names  JSON {"names": [N strings], "label_names": …}
            labels int32 [N] (classes), float32 [N, dim] (vectors), or nothing

The JSON holds `shape`, `block`, `label_kind`, `label_dim`, and under `sections` offset and size of
each part and the SHA-256 of each part except the pixels. So its own hash covers the whole file; it
identifies the data set. A change of this layout increments VERSION.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastgan.data.labels import Label

SUFFIX = ".fgpack"
MAGIC = b"fgpack\r\n"  # a transfer in text mode breaks it
VERSION = 1
PREAMBLE = 4096  # a page, so that the pixels begin on one
_HEAD = struct.Struct("<8sII32s")
_BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Layout:
    """The preamble's contents. `digest`: the SHA-256 (hex) that identifies the contents."""

    shape: tuple[int, int, int, int]  # [N, C, H, W]
    block: int
    label_kind: str
    label_dim: int
    sections: dict[str, dict[str, Any]]
    digest: str

    @property
    def image_bytes(self) -> int:
        return math.prod(self.shape[1:])

    @property
    def file_bytes(self) -> int:
        return max(part["offset"] + part["size"] for part in self.sections.values())


def write_pack(
    file: BinaryIO,
    shape: tuple[int, int, int, int],
    images: Iterable[np.ndarray],
    names: list[str],
    labels: list[Label] | None,
    label_names: object | None,
) -> None:
    """Fill the empty `file` with `images` uint8 [C, H, W], as many as `shape` says."""
    block = max(1, _BLOCK_BYTES // math.prod(shape[1:]))
    file.seek(PREAMBLE)
    hashes, running = [], hashlib.sha256()
    for count, image in enumerate(images, 1):
        data = memoryview(np.ascontiguousarray(image)).cast("B")
        file.write(data)
        running.update(data)
        if count % block == 0 or count == shape[0]:
            hashes.append(running.digest())
            running = hashlib.sha256()
    sections = {"pixels": {"offset": PREAMBLE, "size": math.prod(shape)}}
    document = json.dumps({"names": names, "label_names": label_names}, ensure_ascii=False)
    kind, table = _label_table(labels)
    for name, data in (
        ("blocks", b"".join(hashes)),
        ("names", document.encode()),
        ("labels", table.tobytes()),
    ):
        sha256 = hashlib.sha256(data).hexdigest()
        sections[name] = {"offset": file.tell(), "size": len(data), "sha256": sha256}
        file.write(data)
    facts = {
        "shape": list(shape),
        "block": block,
        "label_kind": kind,
        "label_dim": int(table.max(initial=-1)) + 1 if kind == "classes" else table.shape[1],
        "sections": sections,
    }
    text = json.dumps(facts, sort_keys=True).encode()
    file.seek(0)
    file.write(_HEAD.pack(MAGIC, VERSION, len(text), hashlib.sha256(text).digest()) + text)


def read_layout(file: BinaryIO, path: Path) -> Layout:
    """The layout of an open file, of which only the preamble is read.

    Raises ValueError naming `path` for another kind of file, a newer version, a damaged preamble,
    and a file that is shorter or longer than its layout says.
    """
    page = file.read(PREAMBLE)
    again = "copy it again from where it came, or pack the images again (`fastgan data pack`)"
    if page[: len(MAGIC)] != MAGIC or len(page) < _HEAD.size:
        raise ValueError(
            f"{path} is not a packed data set of fastgan (it doesn't begin with {MAGIC!r}); "
            f"`fastgan data pack SRC {path.name}` makes one of a folder or a zip"
        )
    _, version, length, sha256 = _HEAD.unpack_from(page)
    if version > VERSION:
        raise ValueError(
            f"{path} is a packed data set of version {version}, and this fastgan reads up to "
            f"{VERSION}; update fastgan, or pack the images again"
        )
    text = page[_HEAD.size : _HEAD.size + length]
    if hashlib.sha256(text).digest() != sha256:
        raise ValueError(f"{path} is damaged: its preamble doesn't match its SHA-256; {again}")
    facts = json.loads(text)
    layout = Layout(
        shape=tuple(facts["shape"]),
        block=facts["block"],
        label_kind=facts["label_kind"],
        label_dim=facts["label_dim"],
        sections=facts["sections"],
        digest=sha256.hex(),
    )
    size = file.seek(0, 2)
    if size != layout.file_bytes:
        raise ValueError(
            f"{path} is {size} bytes long, expected {layout.file_bytes}: it was cut short or added "
            f"to; {again}"
        )
    return layout


def read_section(file: BinaryIO, layout: Layout, name: str, path: Path) -> bytes:
    """The bytes of "blocks", "names" or "labels"; ValueError where their SHA-256 is another."""
    part = layout.sections[name]
    file.seek(part["offset"])
    data = file.read(part["size"])
    if hashlib.sha256(data).hexdigest() != part["sha256"]:
        raise ValueError(
            f"{path} is damaged: its {name} don't match their SHA-256; copy it again from where it "
            f"came, or pack the images again"
        )
    return data


def _label_table(labels: list[Label] | None) -> tuple[str, np.ndarray]:
    if labels is None:
        return "none", np.zeros((0, 0), dtype="<f4")
    if isinstance(labels[0], int):
        return "classes", np.array(labels, dtype="<i4")
    return "vectors", np.array(labels, dtype="<f4")
