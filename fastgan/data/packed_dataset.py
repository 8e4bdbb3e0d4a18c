# SPDX-License-Identifier: Apache-2.0
"""A packed data set, mapped into memory: opening it reads one page, an image costs one copy."""

import mmap
from collections.abc import Callable
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from fastgan.data.image_dataset import parse_resolution, spread_indices
from fastgan.data.labels import NO_LABELS_FIX, encoded
from fastgan.data.pack_format import read_labels, read_layout, read_names, read_section


class PackedDataset:
    """A `.fgpack` file that `pack` wrote, with the interface of `ImageDataset`.

    `dataset[i]` is (x, c): x uint8 [C, H, W], c float32 [label_dim]; `take` returns many at once.
    The pixels stay on the disk, mapped into memory: the system keeps what it has space for, all
    processes of a machine share it, and nothing is read before it is used.

    Opening checks the hash of the preamble, the version and the size of the file; reading labels
    and names checks their hashes; `check` reads and checks every pixel. The file must not shrink
    while it is open.

    Args:
        path: the .fgpack file.
        resolution: None, or the size that the file has: (height, width) in pixels, or an int for
            both. Another one is refused, because packing is there to avoid resizing at run time.
        use_labels: whether c is the label: one-hot for a class, a vector as it is. Else label_dim
            is 0.
        max_images: maximum number of images, taken evenly over the sorted names; None takes all.

    Attributes:
        image_shape: (C, H, W).
        label_dim: length of a label vector; 0 without labels.
        name: the path's last part without suffix.
        path: the path.
        digest: SHA-256 (hex) that identifies the contents.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another kind of file, a damaged one, another resolution, or no labels; the
            message says what to do.
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
        with self.path.open("rb") as file:
            self.layout = read_layout(file, self.path)
        count, *shape = self.layout.shape
        self.image_shape = tuple(shape)
        self.digest = self.layout.digest
        self.resolution = parse_resolution(resolution, "PackedDataset")
        if self.resolution not in (None, self.image_shape[1:]):
            (h, w), (_, ph, pw) = self.resolution, shape
            raise ValueError(
                f"{self.path} holds images of {pw}x{ph} (width x height), and {w}x{h} were asked "
                f"for; make another with `fastgan data pack SRC DEST.fgpack --resolution {w}x{h}` "
                f"from the images themselves, or leave the resolution out"
            )
        # None: all, in their order, without a table as long as the data set
        indices = spread_indices(count, max_images, "PackedDataset")
        self._kept = None if indices is None else np.array(indices, dtype=np.int64)
        self._labels = self._read_labels() if use_labels else None
        self.label_dim = self.layout.label_dim if use_labels else 0

    def __len__(self) -> int:
        return self.layout.shape[0] if self._kept is None else len(self._kept)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        row = self._row(index)
        self._announce([row])
        return self._pixels[row].copy(), self.label(index)

    def label(self, index: int) -> np.ndarray:
        """The label of one image, without reading the image.

        Args:
            index: position of the image.

        Returns:
            float32 [label_dim].
        """
        return self._encode(np.array([self._row(index)]))[0]

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Several images and their labels.

        Args:
            indices: int64 [B], positions of the images.

        Returns:
            (uint8 [B, C, H, W], float32 [B, label_dim]).
        """
        rows = indices if self._kept is None else self._kept[indices]
        self._announce(rows.tolist())
        return self._pixels[rows], self._encode(rows)

    @property
    def labels(self) -> np.ndarray:
        """int32 [N], the classes, or float32 [N, label_dim], the vectors."""
        if self._labels is None:
            return np.zeros((len(self), 0), dtype=np.float32)
        return self._labels.copy() if self._kept is None else self._labels[self._kept]

    @cached_property
    def file_names(self) -> list[str]:
        """Names of the images that were packed."""
        with self.path.open("rb") as file:
            names = read_names(file, self.layout, self.path)
        return names if self._kept is None else [names[row] for row in self._kept]

    def check(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Read every byte of the file and compare it with its SHA-256, whatever max_images is.

        Args:
            progress: called with (done, total) images after every block.

        Raises:
            ValueError: the file is damaged; the first damaged block of images is named.
        """
        count, block = self.layout.shape[0], self.layout.block
        with self.path.open("rb") as file:
            for name in ("names", "labels"):
                read_section(file, self.layout, name, self.path)
            hashes = read_section(file, self.layout, "blocks", self.path)
            file.seek(self.layout.sections["pixels"]["offset"])
            for i, start in enumerate(range(0, count, block)):
                stop = min(start + block, count)
                data = file.read((stop - start) * self.layout.image_bytes)
                if sha256(data).digest() != hashes[32 * i : 32 * i + 32]:
                    raise ValueError(
                        f"{self.path} is damaged: images {start} to {stop - 1} don't match their "
                        f"SHA-256; copy it again from where it came, or pack the images again"
                    )
                if progress is not None:
                    progress(stop, count)

    def _row(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.path} has {len(self)} images, got index {index}")
        index = index % len(self)
        return index if self._kept is None else int(self._kept[index])

    def _encode(self, rows: np.ndarray) -> np.ndarray:
        if self._labels is None:
            return np.zeros((len(rows), 0), dtype=np.float32)
        return encoded(self._labels[rows], self.label_dim)

    def _read_labels(self) -> np.ndarray:
        """int32 [N] or float32 [N, label_dim]."""
        if self.layout.label_kind == "none":
            raise ValueError(f"{self.path} was packed without labels; {NO_LABELS_FIX}")
        with self.path.open("rb") as file:
            return read_labels(file, self.layout, self.path)

    def _announce(self, rows: list[int]) -> None:
        """Ask the system to read all of these images now; a page fault waits for one page."""
        size, start = self.layout.image_bytes, self.layout.sections["pixels"]["offset"]
        for row in rows:
            begin = (start + row * size) // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_WILLNEED, begin, start + (row + 1) * size - begin)

    @cached_property
    def _map(self) -> mmap.mmap:
        with self.path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        pages.madvise(mmap.MADV_RANDOM)  # what lies around an image is not wanted next
        return pages

    @cached_property
    def _pixels(self) -> np.ndarray:
        offset, size = (self.layout.sections["pixels"][key] for key in ("offset", "size"))
        flat = np.frombuffer(self._map, dtype=np.uint8, count=size, offset=offset)
        return flat.reshape(self.layout.shape)

    def __getstate__(self) -> dict:
        """Without the map: another process opens its own, which shares the pages."""
        return {k: v for k, v in vars(self).items() if k not in ("_map", "_pixels")}
