# SPDX-License-Identifier: Apache-2.0
"""Unpaired pictures of two domains, of any images with two classes, or of the avatars."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fastgan.data import open_images
from fastgan.data.image_sources import label_document, open_source
from fastgan.data.labels import folder_labels
from fastgan.modalities.modality import DataFacts
from fastgan.modalities.pictures import (
    AVATAR_RESOLUTION,
    check_size,
    data_or_avatars,
    pictures_at,
    read_pictures,
)

__all__ = ["BUILT_IN", "Unpaired", "conditions", "describe", "grid", "inputs", "open_data"]

BUILT_IN = "avatars"
_AVATARS = {
    "faces without glasses": ("NONE",),
    "faces with sunglasses": ("SUNGLASSES", "SUNGLASSES_2", "WAYFARERS", "WAYFARERS_2"),
}
_AVATAR_COUNT = 5219  # of those kinds
_HELD_OUT = 5  # of every so many pictures one is kept for the metrics and the samples
_LEAST = 20  # pictures of a domain
_SHOWN = 12

Pictures = dict[str, Tensor]


class Unpaired:
    """Pictures of two domains: sample i has picture i mod N_a of a, and a drawn one of b.

    The held-out part is in turn in both, so that its pictures are the same ones at every time.

    Args:
        images: of `fastgan.data.open_images`.
        a: int64 [N_a], places of the pictures of domain a.
        b: int64 [N_b], likewise.
        names: of the domains.
        held_out: the other part; None: this is it.

    Attributes:
        names: of the domains.
        held_out: the held-out part; of itself, itself.
    """

    def __init__(
        self,
        images: Any,
        a: np.ndarray,
        b: np.ndarray,
        names: tuple[str, str],
        held_out: "Unpaired | None" = None,
    ) -> None:
        self._images, self._places = images, (a, b)
        self.names, self.name, self.path = names, images.name, images.path
        self._draws, self.held_out = held_out is not None, held_out or self

    def __len__(self) -> int:
        return (max if self._draws else min)(map(len, self._places))

    def batch(self, indices: np.ndarray, uniform: np.ndarray) -> tuple[Pictures, Pictures]:
        """Some pictures of both domains, which do not belong together.

        Args:
            indices: int64 [B].
            uniform: float64 [B, 4] in [0, 1), of which the first column draws the pictures of b.

        Returns:
            (x, c), one dict twice: {"a": float32 [B, 3, H, W] in [-1, 1], "b": likewise}.
        """
        a, b = self._places
        drawn = (uniform[:, 0] * len(b)).astype(np.int64) if self._draws else indices % len(b)
        x = {
            "a": pictures_at(self._images, a[indices % len(a)]),
            "b": pictures_at(self._images, b[drawn]),
        }
        return x, x

    def pictures(self, domain: str, indices: np.ndarray) -> Tensor:
        """Some pictures of one domain.

        Args:
            domain: "a" or "b".
            indices: int64 [n], places among the domain's pictures, modulo their number.

        Returns:
            float32 [n, 3, H, W] in [-1, 1].
        """
        places = self._places["ab".index(domain)]
        return pictures_at(self._images, places[indices % len(places)])


def _open(
    data: Any, resolution: tuple[int, int] | None
) -> tuple[Any, tuple[np.ndarray, np.ndarray], tuple[str, str]]:
    """The images, the places of each domain's pictures, and the domains' names."""
    path, resolution = data_or_avatars(data.path, resolution)
    options = {"resolution": resolution, "max_images": data.max_images}
    if data.path is None:
        images, names = open_images(path, **options), list(_AVATARS)
        worn = _accessories(Path(path), images.file_names)
        domains = [np.isin(worn, kinds) for kinds in _AVATARS.values()]
    else:
        images, classes, names = _classes_of(path, options)
        domains = [classes == k for k in range(len(names))]
    counts = [int(domain.sum()) for domain in domains]
    if len(names) != 2 or min(counts) < _LEAST or images.image_shape[0] != 3:
        found = ", ".join(f"{n} of {name}" for n, name in zip(counts, names, strict=True))
        raise ValueError(
            f"Unpaired: {path} has {found} in {images.image_shape[0]} channels, but "
            f"translation is between two kinds of pictures, at least {_LEAST} of each, of 3 "
            "channels (RGB); make a folder with two folders in it, or a dataset.json with the "
            "classes 0 and 1"
        )
    a, b = (np.flatnonzero(domain) for domain in domains)
    return images, (a, b), (names[0], names[1])


def _accessories(path: Path, names: list[str]) -> np.ndarray:
    """What the face of each file wears: the zip holds the attributes of all, by their number."""
    with zipfile.ZipFile(path) as archive:
        attributes = json.loads(archive.read("attributes.json"))["attributes"]
    return np.array([attributes[int(Path(n).stem.removeprefix("img"))]["accessory"] for n in names])


def _classes_of(path: str, options: dict[str, Any]) -> tuple[Any, np.ndarray, list[str]]:
    """The images, the class of each, and the names of the classes."""
    if _has_labels(Path(path)):
        images = open_images(path, use_labels=True, **options)
        classes = [int(images.label(i).argmax()) for i in range(len(images))]
        return images, np.array(classes), [f"class {k}" for k in range(images.label_dim)]
    images = open_images(path, **options)
    classes, names = folder_labels(images.file_names, path)
    return images, np.array(classes), names


def _has_labels(path: Path) -> bool:
    if path.suffix.lower() == ".fgpack":
        return True
    document, _ = label_document(open_source(path))
    return isinstance(document, dict) and document.get("labels") is not None


def describe(data: Any) -> DataFacts:
    """What the pictures tell a recipe: their size; of avatars it is known before they are drawn.

    Args:
        data: `DataConfig`.

    Returns:
        Arguments are height and width.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a damaged or unknown file, other than two kinds of pictures, too few of one, or
            others than RGB.
    """
    if data.path is None:
        height, width = data.resolution or (AVATAR_RESOLUTION, AVATAR_RESOLUTION)
        name, count, lines = f"{BUILT_IN}{width}", _AVATAR_COUNT, ()
    else:
        images, places, names = _open(data, data.resolution)
        _, height, width = images.image_shape
        name, count = images.name, sum(map(len, places))
        kinds = " and ".join(
            f"{len(p)} of {kind} ({d})" for p, kind, d in zip(places, names, "ab", strict=True)
        )
        lines = (
            f"data        {data.path}: {kinds}, {width}x{height} pixels; a fifth of them is held "
            "out",
        )
    return DataFacts(
        arguments={"height": height, "width": width},
        name=name,
        count=min(data.max_images or count, count),
        num_bytes=3 * height * width * count,
        lines=lines,
    )


def open_data(data: Any, model: Any) -> Unpaired:
    """The pictures, checked against the model.

    Args:
        data: `DataConfig`.
        model: the architecture's Config, with height and width.

    Returns:
        The training part; its `held_out` is the other.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: as `describe`, or pictures of another size than the model's.
    """
    size = (model.height, model.width)
    resolution = data.resolution or (size if data.path is None else None)
    images, places, names = _open(data, resolution)
    check_size(images, size)
    random = np.random.RandomState(0)  # its sequence never changes
    a, b = (random.permutation(of_domain) for of_domain in places)
    n_a, n_b = len(a) // _HELD_OUT, len(b) // _HELD_OUT
    held_out = Unpaired(images, a[:n_a], b[:n_b], names)
    return Unpaired(images, a[n_a:], b[n_b:], names, held_out)


def grid(dataset: Unpaired, n: int) -> tuple[Pictures, Pictures]:
    """The held-out pictures that every snapshot shows.

    Args:
        dataset: the pictures, or their held-out part.
        n: the most that are asked for.

    Returns:
        (x, c) of at most 12 pictures of each domain.
    """
    count = min(n, len(dataset.held_out), _SHOWN)
    return dataset.held_out.batch(np.arange(count), np.zeros((count, 4)))


def conditions(dataset: Unpaired, indices: np.ndarray) -> Pictures:
    """Held-out pictures.

    Args:
        dataset: the pictures, or their held-out part.
        indices: int64 [n], of held-out pictures.

    Returns:
        {"a": float32 [n, 3, H, W], "b": likewise}.
    """
    held_out = dataset.held_out
    return held_out.batch(indices % len(held_out), np.zeros((len(indices), 4)))[1]


def inputs(path: Path, data: Any, model: Any) -> Iterator[tuple[str, Pictures]]:
    """Conditions of files that a person gives, for `fastgan generate --input`.

    Args:
        path: a picture, or a folder of them, cropped and resized to the model's size.
        data: `DataConfig` of the run.
        model: the architecture's Config.

    Yields:
        (name, {"a": float32 [1, 3, H, W] in [-1, 1], "b": the same}: it is translated both ways).

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: no picture, or two files of one name.
    """
    for name, x in read_pictures(path, resolution=(model.height, model.width)):
        yield name, {"a": x, "b": x}
