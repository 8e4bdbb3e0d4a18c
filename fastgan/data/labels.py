"""dataset.json of the StyleGAN layout: {"labels": [[name, label], …]}."""

import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

Label = int | list[float]

_FORM = '{"labels": [["00000/img00000000.png", 3], …]}'
_FIX = "`fastgan data convert SRC DEST.zip --labels folders` makes one class per subfolder"
NO_LABELS_FIX = (
    "pack a folder or zip that has a dataset.json with labels, or with `fastgan data pack SRC "
    "DEST.fgpack --labels folders` one class per subfolder"
)


def parse_labels(document: object | None, names: Sequence[str], path: str | Path) -> list[Label]:
    """The label of each name: all ints >= 0 (classes), or all lists of floats of one length.

    `document` is the parsed dataset.json (None: there is none); {"labels": {name: label}} is taken
    as well. Names may have backslashes. Entries for other files don't matter.
    Raises ValueError naming `path` and what is wrong: no dataset.json, no labels in it, another
    form, a file without label, ints mixed with vectors, vectors of unlike lengths.
    """
    if document is None:
        raise ValueError(f"{path} has no dataset.json, so there are no labels; {_FIX}")
    pairs = document.get("labels") if isinstance(document, dict) else None
    if pairs is None:
        raise ValueError(f"dataset.json in {path} has no labels, expected {_FORM}; {_FIX}")
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    if not isinstance(pairs, list) or not all(
        isinstance(p, list | tuple) and len(p) == 2 and isinstance(p[0], str) for p in pairs
    ):
        raise ValueError(f"labels of dataset.json in {path} must be pairs, expected {_FORM}")
    known = {name.replace("\\", "/"): label for name, label in pairs}
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"dataset.json in {path} has no label for {missing[0]} ({len(missing)} of {len(names)} "
            f"files have none); add them, or remove those files"
        )
    labels = [known[name] for name in names]
    for name, label in zip(names, labels, strict=True):
        if not _is_class(label) and not _is_vector(label):
            raise ValueError(
                f"label of {name} in dataset.json of {path} must be an int >= 0 or a list of "
                f"finite numbers, got {label!r}"
            )
        if _width(label) != _width(labels[0]):
            raise ValueError(
                f"label of {name} in dataset.json of {path} is {label!r}, but that of {names[0]} "
                f"is {labels[0]!r}; all must be ints, or all lists of one length"
            )
    return labels


def encode_labels(labels: Sequence[Label]) -> np.ndarray:
    """float32 [N, label_dim]: vectors as they are, ints as one-hot of width max + 1."""
    if isinstance(labels[0], int):
        return np.eye(max(labels) + 1, dtype=np.float32)[list(labels)]
    return np.array(labels, dtype=np.float32)


def folder_labels(names: Sequence[str], path: str | Path) -> tuple[list[int], list[str]]:
    """(class of each file, names of the classes): one class per first folder, in sorted order.

    Raises ValueError for a file that is in no subfolder.
    """
    for name in names:
        if len(PurePosixPath(name).parts) < 2:
            raise ValueError(
                f"{name} in {path} is in no subfolder, so it has no class; expected "
                f"{path}/CLASS/{name}"
            )
    folders = [PurePosixPath(name).parts[0] for name in names]
    classes = sorted(set(folders))
    index = {folder: i for i, folder in enumerate(classes)}
    return [index[folder] for folder in folders], classes


def _is_class(label: object) -> bool:
    return isinstance(label, int) and not isinstance(label, bool) and label >= 0


def _is_vector(label: object) -> bool:
    return (
        isinstance(label, list)
        and len(label) > 0
        and all(isinstance(v, int | float) and math.isfinite(v) for v in label)
    )


def _width(label: Label) -> int | None:
    return len(label) if isinstance(label, list) else None
