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

from fastgan.data.labels import Label, require_dense
from fastgan.json_forms import FormError, anything, fields, one_of, parse, rows, text, whole

SUFFIX = ".fgpack"
MAGIC = b"fgpack\r\n"  # a transfer in text mode breaks it
VERSION = 1
PREAMBLE = 4096  # a page, so that the pixels begin on one
_HEAD = struct.Struct("<8sII32s")
_BLOCK_BYTES = 4 * 2**20
_PARTS = ("pixels", "blocks", "names", "labels")
_PART = {"offset": whole(PREAMBLE), "size": whole()}
_FORM = fields(
    {
        "shape": rows(whole(1, 2**40), length=4),
        "block": whole(1),
        "label_kind": one_of("none", "classes", "vectors"),
        "label_dim": whole(0, 2**31),
        "sections": fields({
            name: fields(_PART if name == "pixels" else _PART | {"sha256": text(64)})
            for name in _PARTS
        }),
    }
)  # fmt: skip
_NAMES_FORM = fields({"names": rows(text()), "label_names": anything})


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
    line = json.dumps(facts, sort_keys=True).encode()
    file.seek(0)
    file.write(_HEAD.pack(MAGIC, VERSION, len(line), hashlib.sha256(line).digest()) + line)


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
    line = page[_HEAD.size : _HEAD.size + length]
    is_whole = version >= 1 and not page[_HEAD.size + length :].strip(b"\0")
    if hashlib.sha256(line).digest() != sha256 or not is_whole:
        raise ValueError(f"{path} is damaged: its preamble doesn't match its SHA-256; {again}")
    try:
        facts = parse(line, _FORM)
        _check_sizes(facts)
    except FormError as error:
        raise ValueError(f"{path} is not a packed data set that can be used: {error}") from error
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


def _check_sizes(facts: dict[str, Any]) -> None:
    """FormError where the parts have not the sizes and places that the shape gives them."""
    (count, *image), kind, dim = facts["shape"], facts["label_kind"], facts["label_dim"]
    wanted = {
        "pixels": count * math.prod(image),
        "blocks": 32 * -(-count // facts["block"]),
        "labels": 4 * count * {"none": 0, "classes": 1, "vectors": dim}[kind],
    }
    end = PREAMBLE
    for name in _PARTS:
        part = facts["sections"][name]
        if part["offset"] != end or part["size"] != wanted.get(name, part["size"]):
            raise FormError(f"sections.{name} is not where a data set of this shape has it")
        end += part["size"]


def read_names(file: BinaryIO, layout: Layout, path: Path) -> list[str]:
    """Names of the images; ValueError where they are damaged, or others than the layout says."""
    try:
        names = parse(read_section(file, layout, "names", path), _NAMES_FORM)["names"]
    except FormError as error:
        raise ValueError(f"names in {path} can't be used: {error}") from error
    if len(names) != layout.shape[0]:
        raise ValueError(f"{path} has {layout.shape[0]} images and {len(names)} names of images")
    return names


def read_labels(file: BinaryIO, layout: Layout, path: Path) -> np.ndarray:
    """int32 [N], the classes, or float32 [N, label_dim]; ValueError where they can't be labels."""
    data = read_section(file, layout, "labels", path)
    if layout.label_kind == "vectors":
        vectors = np.frombuffer(data, dtype="<f4").reshape(-1, layout.label_dim)
        if not np.isfinite(vectors).all():
            raise ValueError(f"labels in {path} have numbers that are NaN or infinite")
        return vectors
    classes = np.frombuffer(data, dtype="<i4")
    if classes.min(initial=0) < 0 or classes.max(initial=-1) >= layout.label_dim:
        raise ValueError(f"labels in {path} must be classes from 0 to {layout.label_dim - 1}")
    require_dense(classes, path)
    return classes


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
