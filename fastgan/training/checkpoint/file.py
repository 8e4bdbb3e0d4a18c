# SPDX-License-Identifier: Apache-2.0
"""A checkpoint on disk: NAME.safetensors with every tensor, NAME.json with the rest.

The JSON holds the tensor file's size and SHA-256, a hash of itself, and a version per field. Both
are written into a temporary folder, .writing-PID, forced to the disk and renamed, the JSON last: a
checkpoint exists when its JSON does. After a kill or a power cut at any moment the older
checkpoints are intact. Neither file can run code.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from fastgan._extras import Extra
from fastgan.atomic import sync_folder
from fastgan.json_forms import (
    FormError,
    anything,
    fields,
    number,
    one_of,
    parse,
    table,
    text,
    whole,
)

safetensors = Extra("safetensors", "train")
safetensors_torch = Extra("safetensors.torch", "train")

__all__ = [
    "FIELDS",
    "CheckpointError",
    "json_of",
    "read_document",
    "read_shapes",
    "read_tensors",
    "remove",
    "remove_leftovers",
    "verify",
    "write",
]

FORMAT = "fastgan-checkpoint"
# Versions of what each field holds. A change of meaning raises its number here.
FIELDS = {
    "config": 1,
    "counters": 1,
    "faults": 1,
    "environment": 1,
    "G": 1,
    "D": 1,
    "G_ema": 1,
    "g_optimizer": 1,
    "d_optimizer": 1,
    "augment": 1,
    "ada": 1,
    "pl_mean": 1,
    "stats": 2,
    "grid": 1,
    "rng": 2,
}
_VALUES = {"config", "counters", "faults", "environment"}
_DOCUMENT_KEYS = {"format", "fields", "tensors", "sha256"} | _VALUES
# What a run is without, such as a checkpoint of `save` or of an earlier fastgan: the looks at the
# training's health so far, which have a version of their own.
_OPTIONAL = {"health"}
_SCRATCH = ".writing-"
_MOST_JSON = 2**26
_FORM = fields(
    {
        "format": one_of(FORMAT),
        "fields": table(whole()),
        "tensors": fields({"size": whole(), "sha256": text(64)}),
        "sha256": text(64),
        "config": fields({"architecture": text(), "model": table()}, others=anything),
        "counters": fields({"nimg": whole(), "elapsed_sec": number(0)}, others=whole()),
        "faults": table(whole()),
        "environment": fields({"device": text()}, others=anything),
    },
    {"health": table()},
    others=anything,  # named as unknown by `read_document`
)


class CheckpointError(RuntimeError):
    """A checkpoint can't be written, or what is on the disk is not one that can be used."""


def json_of(path: Path) -> Path:
    """NAME.json of NAME.safetensors or NAME.json."""
    path = Path(path)
    if path.suffix not in (".json", ".safetensors"):
        raise CheckpointError(
            f"checkpoint: expected a .safetensors or .json file, got {path}; a run folder's "
            "checkpoints are in its checkpoints/ folder"
        )
    return path.with_suffix(".json")


def write(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Writes path (.json) and its tensor file; `values`: config, counters, faults, environment,
    and health where there is one.

    Other threads run meanwhile. After an OSError (the disk refuses) neither of the two new files
    exists, and nothing else is left.
    """
    tensor_path = path.with_suffix(".safetensors")
    scratch = path.with_name(f"{_SCRATCH}{os.getpid()}")
    new_tensors, new_document = scratch / tensor_path.name, scratch / path.name
    is_whole = False
    try:
        scratch.mkdir(exist_ok=True)
        size, digest = _write_tensors(new_tensors, tensors)
        document = values | {
            "format": FORMAT,
            "fields": FIELDS,
            "tensors": {"size": size, "sha256": digest},
        }
        document["sha256"] = _document_hash(document)
        text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
        new_document.write_text(text, encoding="utf-8")
        _sync_file(new_document)
        path.unlink(missing_ok=True)
        new_tensors.replace(tensor_path)
        sync_folder(path.parent)
        new_document.replace(path)
        sync_folder(path.parent)
        is_whole = True
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if not is_whole and not path.exists():
            tensor_path.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Deletes a checkpoint, JSON first, so that it never half exists."""
    path.unlink(missing_ok=True)
    path.with_suffix(".safetensors").unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Deletes what killed processes left: incomplete files, and tensor files without a JSON file.

    Only the process that writes there may call it, and only between two writes.
    """
    for scratch in folder.glob(f"{_SCRATCH}*"):
        if not _is_running_elsewhere(scratch.name.removeprefix(_SCRATCH)):
            shutil.rmtree(scratch, ignore_errors=True)
    for path in folder.glob("ckpt-*.safetensors"):
        if not path.with_suffix(".json").exists():
            path.unlink(missing_ok=True)


def read_document(path: Path) -> dict[str, Any]:
    """The JSON, checked: its own hash, the format, and that every field's version is known."""
    path = json_of(path)
    try:
        document = parse(_read_plain(path, _MOST_JSON))
    except OSError as error:
        raise CheckpointError(
            f"checkpoint: can't read {path}: {error.strerror}; a checkpoint is a .safetensors "
            "file with its .json beside it"
        ) from error
    except FormError as error:
        raise CheckpointError(f"checkpoint: {path} is not valid JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint: {path} is no {FORMAT} file")
    if document.get("sha256") != _document_hash(document):
        raise CheckpointError(
            f"checkpoint: {path} was changed or damaged (its SHA-256 does not fit); "
            "use an older checkpoint"
        )
    _check_same(path, "JSON key", document.keys() - _OPTIONAL, _DOCUMENT_KEYS)
    try:
        _FORM(document, "")
    except FormError as error:
        raise CheckpointError(
            f"checkpoint: {path} is not what a run writes: {error}; use an older checkpoint"
        ) from error
    _check_same(path, "field", document["fields"].keys(), FIELDS.keys())
    for name, version in document["fields"].items():
        if version != FIELDS[name]:
            raise CheckpointError(
                f"checkpoint: {path} holds version {version} of field {name!r}, this fastgan "
                f"reads version {FIELDS[name]}; load it with the fastgan that wrote it"
            )
    return document


def verify(path: Path) -> dict[str, Any]:
    """The checked document, after comparing the tensor file's size and SHA-256 with it."""
    document = read_document(path)
    tensor_path = json_of(path).with_suffix(".safetensors")
    try:
        with _open_plain(tensor_path) as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"checkpoint: can't read {tensor_path}: {error.strerror}") from error
    _check_hash(tensor_path, document, size, digest)
    return document


def read_tensors(path: Path, document: dict[str, Any]) -> dict[str, Tensor]:
    """All tensors, on the CPU, made from the same bytes whose hash was checked."""
    tensor_path = json_of(path).with_suffix(".safetensors")
    try:
        blob = _read_plain(tensor_path)
    except OSError as error:
        raise CheckpointError(f"checkpoint: can't read {tensor_path}: {error.strerror}") from error
    _check_hash(tensor_path, document, len(blob), hashlib.sha256(blob).hexdigest())
    try:
        return safetensors_torch.load(blob)
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"checkpoint: {tensor_path} is no safetensors file: {error}"
        ) from error


def read_shapes(path: Path) -> dict[str, Tensor]:
    """All tensors as tensors without memory (device "meta"); call `verify` before it."""
    tensor_path = json_of(path).with_suffix(".safetensors")
    try:
        with safetensors.safe_open(tensor_path, framework="pt") as opened:
            return {name: opened.get_tensor(name).to("meta") for name in opened.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"checkpoint: {tensor_path} is no safetensors file: {error}"
        ) from error


def _read_plain(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file."""
    with _open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, at most {most:,} are read")
        return file.read()


def _open_plain(path: Path) -> BinaryIO:
    """A regular file, open; OSError for a pipe or a device, whose reading might never end."""
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")  # noqa: PTH123, SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is a pipe, a device or a folder, and no file")
    return file


def _check_hash(path: Path, document: dict[str, Any], size: int, digest: str) -> None:
    expected = document["tensors"]
    if (size, digest) != (expected["size"], expected["sha256"]):
        raise CheckpointError(
            f"checkpoint: {path} is damaged: {size} bytes with SHA-256 {digest[:12]}…, expected "
            f"{expected['size']} with {expected['sha256'][:12]}…; use an older checkpoint"
        )


def _check_same(path: Path, what: str, found: Any, expected: Any) -> None:
    missing, unknown = sorted(expected - found), sorted(found - expected)
    if missing or unknown:
        raise CheckpointError(
            f"checkpoint: {path} has not the {what}s that this fastgan reads; missing: "
            f"{', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
        )


def _document_hash(document: dict[str, Any]) -> str:
    rest = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> tuple[int, str]:
    """(size, SHA-256) of the new file at path, which is on the disk."""
    try:
        # Unlike safetensors' save, which makes one bytes object, this leaves the GIL to others.
        path.touch()  # with the person's umask, which safetensors would not keep
        mode = stat.S_IMODE(path.stat().st_mode)
        safetensors_torch.save_file(tensors, path)
    except safetensors.SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(mode)
    _sync_file(path)
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _is_running_elsewhere(pid: str) -> bool:
    """Whether another process with this number is running; this process is not writing now."""
    if not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
