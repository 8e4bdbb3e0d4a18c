# SPDX-License-Identifier: Apache-2.0
"""Images: what a data set tells a recipe, the data set, its labels, and its loader."""

import dataclasses
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan.data import BatchLoader, ImageDataset, PackedDataset, default_dataset, open_images
from fastgan.data.avatar_painter import CLASSES
from fastgan.data.avatars import DEFAULT_COUNT, default_path
from fastgan.data.batch_loader import packing_advice
from fastgan.data.cached_sets import require_place
from fastgan.data.from_packages.digits import digits_dataset
from fastgan.data.from_packages.emoji import emoji_dataset
from fastgan.data.image_dataset import spread_indices
from fastgan.data.image_sources import unread_words
from fastgan.data.resident_images import normalised
from fastgan.modalities.images.grids import has_class_rows
from fastgan.modalities.modality import DataFacts

__all__ = [
    "BUILT_IN",
    "BUILT_INS",
    "conditions",
    "describe",
    "grid",
    "held_out",
    "make_loader",
    "open_data",
    "preparation",
]

BUILT_IN = "avatars"
BUILT_INS = ("avatars", "digits", "emoji")
_AVATAR_RESOLUTION = 64
_EMOJI_RESOLUTION = 32
_HELD_OUT_BYTES = 64 * 2**20

Say = Callable[[str], None]
ProgressBar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


def describe(data: Any) -> DataFacts:
    """What the images tell a recipe; of avatars it is known before they are drawn.

    Args:
        data: `DataConfig`.

    Returns:
        Arguments are resolution (height, width), img_channels and c_dim.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a damaged or unknown file.
    """
    if _built_in(data) == BUILT_IN:
        height, width = data.resolution or (_AVATAR_RESOLUTION, _AVATAR_RESOLUTION)
        shape, c_dim = (3, height, width), len(CLASSES["hair_color"]) if data.use_labels else 0
        name, count, lines = f"{BUILT_IN}{width}", DEFAULT_COUNT, ()
    else:
        path, resolution = _path_of(data, data.resolution), data.resolution
        if _built_in(data) == "emoji":
            resolution = resolution or (_EMOJI_RESOLUTION, _EMOJI_RESOLUTION)
        images = open_images(path, resolution=resolution, use_labels=data.use_labels)
        shape, c_dim, count = images.image_shape, images.label_dim, len(images)
        name, (_, height, width) = _built_in(data) or images.name, shape
        unread = unread_words(getattr(images, "unread", {}))
        lines = (f"data        {path}: {count} images of {width}x{height} pixels{unread}",)
        if (advice := packing_advice(images)) is not None:
            lines = (*lines, advice)
    return DataFacts(
        arguments={"resolution": shape[1:], "img_channels": shape[0], "c_dim": c_dim},
        name=name,
        count=count,
        num_bytes=min(data.max_images or count, count) * math.prod(shape),
        lines=lines,
    )


def open_data(data: Any, model: Any) -> ImageDataset | PackedDataset:
    """The images, checked against the model.

    Args:
        data: `DataConfig`.
        model: the architecture's Config.

    Returns:
        The data set. Metrics use its attribute `held_out`, where it has one (emoji).

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a damaged or unknown file, or images that do not fit the model.
    """
    shape = getattr(model, "data_shape", None)
    if shape is not None and len(shape) != 3:
        raise ValueError(
            f"train: model.data_shape is {shape}, and config.data reads images; pass "
            "train(..., loader=) with a batch_at(position)"
        )
    shape = shape or (model.img_channels, model.img_height, model.img_width)
    path, resolution = _path_of(data, shape[1:]), data.resolution
    if _built_in(data) in (BUILT_IN, "emoji"):
        resolution = shape[1:]
    images = open_images(
        path, resolution=resolution, use_labels=data.use_labels, max_images=data.max_images
    )
    if (images.image_shape, images.label_dim) != (shape, model.c_dim):
        raise ValueError(
            f"train: the model takes images {shape} and c_dim {model.c_dim}, but {path} holds "
            f"{images.image_shape} and label_dim {images.label_dim}; set data.resolution, "
            "data.use_labels, or the model's img_channels, img_height, img_width and c_dim"
        )
    if _built_in(data) == "emoji":
        images.held_out = open_images(
            emoji_dataset(held_out=True), resolution=resolution, use_labels=data.use_labels
        )
    return images


def conditions(dataset: Any, indices: np.ndarray) -> Tensor | None:
    """The labels of some images, without decoding the images.

    Args:
        dataset: an ImageDataset, a PackedDataset, or another with `label(index)`.
        indices: int64 [n].

    Returns:
        float32 [n, label_dim], or None without labels.
    """
    if getattr(dataset, "label_dim", None) == 0:
        return None
    return torch.from_numpy(np.stack([dataset.label(int(i)) for i in indices]))


def grid(dataset: Any, n: int) -> tuple[Tensor, Tensor] | None:
    """Images of the classes of a snapshot, where it has a row of each class.

    Args:
        dataset: an ImageDataset or a PackedDataset.
        n: the images of a snapshot.

    Returns:
        (uint8 [n, C, H, W], float32 [n, label_dim]), the classes in turn; None where a snapshot has
        no rows of classes, a label is no class, or a class has no image.
    """
    num_classes = getattr(dataset, "label_dim", 0)
    if not has_class_rows(n, num_classes):
        return None
    most = -(-n // num_classes)
    members: list[list[int]] = [[] for _ in range(num_classes)]
    for index in range(len(dataset)):
        label = dataset.label(index)
        if label.sum() != 1 or label.max() != 1:
            return None
        of_class = members[int(label.argmax())]
        if len(of_class) < most:
            of_class.append(index)
            if all(len(some) == most for some in members):
                break
    if not all(members):
        return None
    classes = [i % num_classes for i in range(n)]
    chosen = [members[k][i // num_classes % len(members[k])] for i, k in enumerate(classes)]
    x = np.stack([dataset[index][0] for index in chosen])
    return torch.from_numpy(x), torch.eye(num_classes)[classes]


def held_out(data: Any, model: Any, n: int) -> tuple[Tensor, Tensor] | None:
    """Images that a run never trains on: the built-in set's, or those that `max_images` leaves out.

    Args:
        data: `DataConfig`.
        model: the architecture's Config.
        n: the most images; fewer, but 16 at least, where they take more than 64 MiB.

    Returns:
        (x float32 [n, C, H, W] in [-1, 1], c float32 [n, label_dim]); None where there are fewer
        than 16.
    """
    if _built_in(data) == "emoji":
        images = open_data(data, model).held_out
        others = range(len(images))
    elif data.max_images is None:
        return None
    else:
        images = open_data(dataclasses.replace(data, max_images=None), model)
        chosen = spread_indices(len(images), data.max_images, "held_out")
        others = sorted(set(range(len(images))).difference(chosen or range(len(images))))
    n = min(n, max(_HELD_OUT_BYTES // (4 * math.prod(images.image_shape)), 16))
    at = spread_indices(len(others), n, "held_out") or range(len(others))
    if len(at) < 16:
        return None
    pairs = [images[others[i]] for i in at]
    x, c = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
    return normalised(x), c


def make_loader(
    dataset: ImageDataset | PackedDataset,
    config: Any,
    *,
    part: tuple[int, int],
    workers: int | None = None,
    machine: Any = None,
) -> BatchLoader:
    """The loader of a run.

    Args:
        dataset: the images.
        config: `TrainConfig`.
        part: (rank, world_size).
        workers: threads that decode; None: chosen by `BatchLoader`.
        machine: the processes of this machine; None: this one alone.
    """
    return BatchLoader(
        dataset, config.batch, seed=config.seed, mirror=config.data.mirror, device=config.device,
        workers=workers, part=part, machine=machine, on_device=config.data.on_device,
        class_balance=config.data.class_balance,
    )  # fmt: skip


def preparation(data: Any, model: Any) -> Callable[[Say, ProgressBar], None] | None:
    """What draws the avatars before their first use; None for images of the user's.

    Args:
        data: `DataConfig`.
        model: the architecture's Config.

    Raises:
        OSError: they are missing, and nothing can be written where they would be.
    """
    if _built_in(data) != BUILT_IN:
        return None
    resolution = max(model.img_height, model.img_width)
    require_place(default_path(resolution))
    return partial(_draw, resolution)


def _built_in(data: Any) -> str | None:
    """The name of what this machine makes, one of `BUILT_INS`; None for images of the user's."""
    if data.path is None:
        return data.options.get("built_in", BUILT_IN)
    return data.path if data.path in BUILT_INS else None


def _path_of(data: Any, size: tuple[int, int] | None) -> str | Path:
    """Where the images are, which are made now where they are built in; size is (height, width)."""
    match _built_in(data):
        case "avatars":
            return default_dataset(max(size))
        case "digits":
            return digits_dataset()
        case "emoji":
            return emoji_dataset()
    return data.path


def _draw(resolution: int, say: Say, progress_bar: ProgressBar) -> None:
    say("data        cartoon faces (drawn by the first run, then reused)")
    with progress_bar("drawing faces") as progress:
        path = default_dataset(resolution, progress=progress)
    say(f"            {path}")
