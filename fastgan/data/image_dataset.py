"""Pictures and labels of a folder or a zip, one at a time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fastgan.data.image_codec import convert_command, decode
from fastgan.data.image_sources import label_document, open_source
from fastgan.data.labels import encode_labels, parse_labels


class ImageDataset:
    """Pictures (png, jpg, jpeg, webp, bmp) of a folder, zip or tars, at any depth, by name.

    `dataset[i]` is (x, c): x uint8 [C, H, W], c float32 [label_dim]. len(dataset) counts pictures.

    path           folder, or zip such as StyleGAN's, opened late, per process; a .tar or a folder
                   of them, in webdataset's layout (`tar_shards`)
    resolution     None: all pictures must have the size of the first. (H, W) or an int: each is
                   centre-cropped to that aspect ratio and resized with Lanczos
    use_labels     c from dataset.json: one-hot for ints, vectors as they are; else label_dim is 0
    max_images     keep at most so many, evenly spaced over the sorted names

    C is 1 or 3, as the first picture has it: grey pictures then become RGB, and a colour picture
    in a grey data set is refused. Transparency is composited on white; see `decode`.

    Attributes: `image_shape` (C, H, W), `label_dim`, `name`, `path`, `file_names`.
    Raises FileNotFoundError, or ValueError that names the file, what is wrong and the cure.
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
        self.file_names = spread(self._source.names, max_images, "ImageDataset")
        self._labels = np.zeros((len(self.file_names), 0), dtype=np.float32)
        if use_labels:
            names = self._source.names  # all of them: max_images must not change label_dim
            labels = parse_labels(label_document(self._source), names, self.path)
            row = dict(zip(names, encode_labels(labels), strict=True))
            self._labels = np.stack([row[name] for name in self.file_names])
        self.label_dim = self._labels.shape[1]
        self._channels = None
        first = self._decode(0)
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
                f"{self.file_names[0]} is {w}x{h} (width x height); make them alike with "
                f"{convert_command(self.path)}, or pass resolution="
            )
        return x, self._labels[index].copy()

    def label(self, index: int) -> np.ndarray:
        """float32 [label_dim] without decoding the picture."""
        return self._labels[index].copy()

    def check(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Decode every picture once and raise the ValueError of the first bad one."""
        for index in range(len(self)):
            self[index]
            if progress is not None:
                progress(index + 1, len(self))

    def _decode(self, index: int) -> np.ndarray:
        name = self.file_names[index]
        return decode(
            self._source.read(name),
            f"{name} in {self.path}",
            channels=self._channels,
            resolution=self.resolution,
        )


def parse_resolution(
    resolution: tuple[int, int] | int | None, caller: str
) -> tuple[int, int] | None:
    """(H, W) of an int or a pair; None stays None. Raises ValueError for other things."""
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
