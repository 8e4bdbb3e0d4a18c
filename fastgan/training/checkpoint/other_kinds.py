# SPDX-License-Identifier: Apache-2.0
"""What was not trained here: imported weights, and paths that are no run, in words."""

import re
from pathlib import Path

from fastgan._extras import Extra
from fastgan.json_forms import FormError, anything, fields, parse, table, text
from fastgan.training.checkpoint.file import CheckpointError

safetensors = Extra("safetensors", "train")

__all__ = ["NETWORK_FORM", "advice_on", "has_no_discriminator"]

# config.json of save_pretrained, of which these say what the network is
NETWORK_FORM = fields({"architecture": text(256), "network": text(256)}, others=anything)

_OF_OTHERS = (".pkl", ".pt", ".pth", ".ckpt", ".bin")
_VOCODER_FILE = re.compile(r"(g|do)_\d+")
_RUN = re.compile(r"\d{5,}(-.*)?")


def advice_on(path: Path) -> str:
    """One sentence on a file or folder without a checkpoint of a run; "" where it is unknown."""
    if path.is_dir():
        return _of_pretrained(path) or _of_runs(path) or _of_files(path)
    return _of_file(path)


def has_no_discriminator(checkpoint: Path) -> bool:
    """Whether the file of imported weights had no D, so that the checkpoint's is a random one."""
    path = checkpoint.parent.parent / "imported.json"
    try:
        form = fields({"dtypes": table(table(text()))}, others=anything)
        return "D" not in parse(path.read_bytes(), form)["dtypes"]
    except FileNotFoundError:
        return False
    except (OSError, FormError) as error:
        raise CheckpointError(
            f"checkpoint: {path} is not what `fastgan import` writes ({error}); import the file "
            "again"
        ) from error


def _of_pretrained(folder: Path) -> str:
    """On a folder of `save_pretrained`, as `fastgan import` writes it for vocoders."""
    try:
        document = parse((folder / "config.json").read_bytes(), NETWORK_FORM)
    except (OSError, FormError):
        return ""
    architecture, network = document["architecture"], document["network"]
    what = f"{network} of {architecture}"
    if architecture.startswith("vocoders."):
        what = f"vocoder ({what}), which makes sound of spectrograms and has no images"
    return (
        f"{folder} is the folder of a {what}, and not a run; load it in Python: fastgan.load("
        f"{str(folder)!r})"
    )


def _of_runs(folder: Path) -> str:
    runs = sorted(p.name for p in folder.iterdir() if p.is_dir() and _RUN.fullmatch(p.name))
    if not runs:
        return ""
    return f"{folder} holds {len(runs)} runs; name one of them, such as {folder / runs[-1]}"


def _of_files(folder: Path) -> str:
    for path in sorted(folder.iterdir()):
        if advice := _of_file(path):
            return f"{folder} is no run of fastgan; {advice}"
    return ""


def _of_file(path: Path) -> str:
    if not path.is_file():
        return ""
    is_of_others = path.suffix in _OF_OTHERS or _VOCODER_FILE.fullmatch(path.name)
    if not is_of_others and not _is_export(path):
        return ""
    origin = "another project" if is_of_others else "`fastgan export`"
    return (
        f"{path} is a file of {origin}; convert it first: fastgan import {path} --out DIR, "
        "and name DIR"
    )


def _is_export(path: Path) -> bool:
    """Whether a file is what `fastgan export --to nvidia` writes, which no .json is beside."""
    if path.suffix != ".safetensors" or path.with_suffix(".json").exists():
        return False
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return "fastgan" in (file.metadata() or {})
    except (safetensors.SafetensorError, OSError):
        return False
