# SPDX-License-Identifier: Apache-2.0
"""Images and labels of a folder, zip or tars, one at a time."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fastgan.data.image_codec import convert_command, decode, size_words
from fastgan.data.image_sources import label_document, open_source
from fastgan.data.labels import encoded, label_dim_of, label_table, parse_labels

_MOST_LOOKED_AT = 10_000


class ImageDataset:
    """Images (.png, .jpg, .webp, .bmp) of a folder, zip or tars, at any depth, sorted by name.

    `dataset[i]` is (x, c): x uint8 [C, H, W], c float32 [label_dim]. len(dataset) is the number of
    images. C is 1 or 3, as in the first image: with 3, grayscale images become RGB; with 1, a color
    image is refused. Transparency is composited on white.

    Args:
        path: a folder; a .zip file such as StyleGAN's, which each process opens for itself; a .tar
            file or a folder of them, in the layout of webdataset (`tar_shards`).
        resolution: (height, width) in pixels, or an int for both: each image is center-cropped to
            that aspect ratio and resized with Lanczos. None: all images must have the size of the
            first.
        use_labels: whether c is the label in dataset.json: one-hot for an int, a vector as it is.
            Else label_dim is 0.
        max_images: maximum number of images, taken evenly over the sorted names; None takes all.

    Attributes:
        image_shape: (C, H, W).
        label_dim: length of a label vector; 0 without labels.
        labels: int32 [N], the classes, or float32 [N, label_dim], the vectors.
        unread: {suffix: number} of the pictures there whose format is not read.
        name: the path's last part without suffix.
        path: the path.
        file_names: names of the images in their order.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: no image, no labels, or a damaged file; the message names it and what to do.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        resolution: tuple[int, int] | int | None = None,
        use_labels: bool = False,
        max_images: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = self.path.stem
        self.resolution = parse_resolution(resolution, "ImageDataset")
        self._source = open_source(self.path)
        names = self._source.names
        kept = spread_indices(len(names), max_images, "ImageDataset")
        self.file_names = list(names) if kept is None else [names[i] for i in kept]
        self.unread = self._source.unread
        self.labels = np.zeros((len(self.file_names), 0), dtype=np.float32)
        if use_labels:
            # of all images: max_images must not change label_dim
            document, folder = label_document(self._source)
            self.labels = label_table(parse_labels(document, names, self.path, folder=folder))
        self.label_dim = label_dim_of(self.labels)
        if use_labels and kept is not None:
            self.labels = self.labels[kept]
        self._channels, self._pattern = None, self.file_names[0]  # whose shape all shall have
        try:
            first = self._decode(0)
        except ValueError as error:
            raise self._all_faults() or error from None
        self.image_shape = first.shape
        self._channels = first.shape[0]

    def __len__(self) -> int:
        return len(self.file_names)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        x = self._decode(index)
        if x.shape != self.image_shape:
            _, h, w = self.image_shape
            raise ValueError(
                f"{self.file_names[index]} in {self.path} is {x.shape[2]}x{x.shape[1]} pixels, but "
                f"{self._pattern} is {w}x{h} (width x height); make them alike with "
                f"{convert_command(self.path, (h, w))}, or have them resized as they are read "
                f"(`fastgan train --resolution {size_words((h, w))}`; in Python resolution=)"
            )
        return x, self.label(index)

    def label(self, index: int) -> np.ndarray:
        """The label of one image, without decoding the image.

        Args:
            index: position of the image.

        Returns:
            float32 [label_dim].
        """
        return encoded(self.labels[[index]], self.label_dim)[0]

    def check(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Decode every image once.

        Args:
            progress: called with (done, total) after every image.

        Raises:
            ValueError: images are damaged or have another size; all are named, up to 20.
        """
        faults = []
        for index in range(len(self)):
            try:
                self[index]
            except ValueError as error:
                faults.append(str(error))
            if progress is not None:
                progress(index + 1, len(self))
        if faults:
            raise faulty_images(faults, len(self))

    def _all_faults(self) -> ValueError | None:
        """The error that names all images that can't be used, beside the first one of a small set.

        None where no image can be read, or there are too many to look at now.
        """
        if len(self) > _MOST_LOOKED_AT:
            return None
        shapes: dict[tuple[int, ...], list[str]] = {}
        for index, name in enumerate(self.file_names):
            with contextlib.suppress(ValueError):
                shapes.setdefault(self._decode(index).shape, []).append(name)
        if not shapes:
            return None
        self.image_shape, (self._pattern, *_) = max(shapes.items(), key=lambda kv: len(kv[1]))
        self._channels = self.image_shape[0]
        try:
            self.check()
        except ValueError as error:
            return error
        return None

    def _decode(self, index: int) -> np.ndarray:
        name = self.file_names[index]
        return decode(
            self._source.read(name),
            f"{name} in {self.path}",
            channels=self._channels,
            resolution=self.resolution,
        )


def faulty_images(faults: Sequence[str], count: int) -> ValueError:
    """The error that names images which can't be used, at most 20 of them.

    Args:
        faults: what is wrong with each of them, at least one.
        count: of all images.
    """
    if len(faults) == 1:
        return ValueError(faults[0])
    more = f"\n... and {len(faults) - 20} more" if len(faults) > 20 else ""
    return ValueError(
        f"{len(faults)} of {count} images can't be used:\n" + "\n".join(faults[:20]) + more
    )


def parse_resolution(
    resolution: tuple[int, int] | int | None, caller: str
) -> tuple[int, int] | None:
    """(H, W) of an int or a pair; None stays None. ValueError for anything else."""
    if resolution is None:
        return None
    size = (resolution, resolution) if isinstance(resolution, int) else resolution
    is_pair = isinstance(size, tuple | list) and len(size) == 2
    if not is_pair or not all(isinstance(s, int) and s > 0 for s in size):
        raise ValueError(
            f"{caller}: resolution must be a positive int or (height, width), got {resolution!r}"
        )
    return tuple(size)


def spread(names: list[str], max_images: int | None, caller: str) -> list[str]:
    """At most `max_images` names, evenly spaced, so that sorted class folders all keep a share."""
    indices = spread_indices(len(names), max_images, caller)
    return list(names) if indices is None else [names[i] for i in indices]


def spread_indices(count: int, max_images: int | None, caller: str) -> list[int] | None:
    """The positions of `spread` in 0 … count - 1; None for all of them."""
    if max_images is not None and max_images < 1:
        raise ValueError(f"{caller}: max_images must be at least 1 or None, got {max_images}")
    if max_images is None or max_images >= count:
        return None
    return [i * count // max_images for i in range(max_images)]
