# SPDX-License-Identifier: Apache-2.0
"""dataset.json of the StyleGAN layout: {"labels": [[name, label], …]}."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from fastgan.data.image_names import comparison_key, normal_name

Label = int | list[float]

# From this id on, ids that leave nine of ten numbers without a class are no numbers of classes.
MOST_SPARSE_IDS = 10_000

_MOST = float(np.finfo(np.float32).max)
_FORM = '{"labels": [["00000/img00000000.png", 3], …]}'
_FIX = "`fastgan data convert SRC DEST.zip --labels folders` makes one class per subfolder"
NO_LABELS_FIX = (
    "pack a folder or zip that has a dataset.json with labels, or with `fastgan data pack SRC "
    "DEST.fgpack --labels folders` one class per subfolder"
)


def parse_labels(
    document: object | None,
    names: Sequence[str],
    path: str | Path,
    *,
    folder: str = "",
    is_renumbered: bool = False,
) -> list[Label]:
    """The label of each name: all ints >= 0 (classes), or all lists of floats of one length.

    `document` is the parsed dataset.json (None: there is none); {"labels": {name: label}} is taken
    as well. `folder` is where it lies ("" or "FOLDER/"); its names begin there. Names are compared
    by `comparison_key` where they are not the same. Entries for other files don't matter.
    Raises ValueError naming `path` and what is wrong: no dataset.json, no labels in it, another
    form, a file without label, ints mixed with vectors, vectors of unlike lengths, and, unless
    `is_renumbered`, class ids that are far apart.
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
    known = {normal_name(name): label for name, label in pairs}
    alike = {comparison_key(name): label for name, label in pairs}
    labels, missing = [], []
    for name in names:
        own = name.removeprefix(folder)
        label = known[own] if own in known else alike.get(comparison_key(own))
        labels.append(label)
        if label is None:
            missing.append(name)
    if missing:
        raise ValueError(
            f"dataset.json in {path} has no label for {missing[0]} ({len(missing)} of {len(names)} "
            f"files have none); add them, or remove those files"
        )
    for name, label in zip(names, labels, strict=True):
        if not _is_class(label) and not _is_vector(label):
            raise ValueError(
                f"label of {name} in dataset.json of {path} must be an int from 0 to 2147483647 or "
                f"a list of finite numbers (float32), got {_shown(label)}"
            )
        if _width(label) != _width(labels[0]):
            raise ValueError(
                f"label of {name} in dataset.json of {path} is {_shown(label)}, but that of "
                f"{names[0]} is {_shown(labels[0])}; all must be ints, or all lists of one length"
            )
    if isinstance(labels[0], int) and not is_renumbered:
        require_dense(labels, path)
    return labels


def renumbered(labels: Sequence[Label], path: str | Path) -> tuple[list[int], list[int]]:
    """(class of each label, ids of the classes): the ids in ascending order become 0, 1, ….

    Raises ValueError where the labels are vectors.
    """
    if not isinstance(labels[0], int):
        raise ValueError(f"labels of {path} are vectors, which have no ids to number again")
    ids = sorted(set(labels))
    index = {label: i for i, label in enumerate(ids)}
    return [index[label] for label in labels], ids


def label_table(labels: Sequence[Label]) -> np.ndarray:
    """int32 [N] of classes, or float32 [N, label_dim] of vectors."""
    return np.array(labels, dtype=np.int32 if isinstance(labels[0], int) else np.float32)


def label_dim_of(table: np.ndarray) -> int:
    """Numbers of a label: the classes 0 to the largest, or the length of the vectors."""
    return int(table.max(initial=-1)) + 1 if table.ndim == 1 else table.shape[1]


def encoded(table: np.ndarray, label_dim: int) -> np.ndarray:
    """float32 [N, label_dim] of rows of a `label_table`: classes are one-hot."""
    if table.ndim == 2:
        return table
    one_hot = np.zeros((len(table), label_dim), dtype=np.float32)
    one_hot[np.arange(len(table)), table] = 1
    return one_hot


def folder_labels(names: Sequence[str], path: str | Path) -> tuple[list[int], list[str]]:
    """(class of each file, names of the classes): one class per folder, in sorted order.

    It is the first folder that not all files share: where animals/cat and animals/dog hold the
    images, the classes are cat and dog. Files in one folder alone are one class.
    Raises ValueError for a file that is in no subfolder.
    """
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    level = 0  # of the folders that all files share and that have a folder below
    while all(len(f) > level + 1 for f in folders) and len({f[level] for f in folders}) == 1:
        level += 1
    for name, parents in zip(names, folders, strict=True):
        if len(parents) <= level:
            where = "/".join([str(path), *parents])
            raise ValueError(
                f"{name} in {path} is in no subfolder, so it has no class; expected "
                f"{where}/CLASS/{PurePosixPath(name).name}"
            )
    classes = sorted({f[level] for f in folders})
    index = {folder: i for i, folder in enumerate(classes)}
    return [index[f[level]] for f in folders], classes


def require_dense(labels: Sequence[int] | np.ndarray, path: str | Path) -> None:
    """ValueError for classes that are far apart, and would make one-hot labels too long."""
    largest = int(np.max(labels))
    if largest < MOST_SPARSE_IDS:
        return
    num_classes = len(np.unique(labels))
    if largest < MOST_SPARSE_IDS or largest < 10 * num_classes:
        return
    raise ValueError(
        f"the labels of {path} are ids of {num_classes} classes, of which the largest is "
        f"{largest}: a one-hot label would have {largest + 1} numbers. Number the classes 0, 1, … "
        f"with `fastgan data convert {path} DEST.zip --labels renumber`"
    )


def _is_class(label: object) -> bool:
    return isinstance(label, int) and not isinstance(label, bool) and 0 <= label < 2**31


def _is_vector(label: object) -> bool:
    return (
        isinstance(label, list)
        and len(label) > 0
        and all(isinstance(v, int | float) and abs(v) <= _MOST for v in label)
    )


def _width(label: Label) -> int | None:
    return len(label) if isinstance(label, list) else None


def _shown(label: object) -> str:
    text = repr(label) if not isinstance(label, int) or abs(label) < 10**20 else "a huge number"
    return text if len(text) <= 80 else text[:77] + "..."
