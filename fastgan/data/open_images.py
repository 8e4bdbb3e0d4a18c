# SPDX-License-Identifier: Apache-2.0
"""Open the data set at a path, whatever kind it is."""

from pathlib import Path

from fastgan.data.image_dataset import ImageDataset
from fastgan.data.pack_format import SUFFIX
from fastgan.data.packed_dataset import PackedDataset


def open_images(
    path: str | Path,
    *,
    resolution: tuple[int, int] | int | None = None,
    use_labels: bool = False,
    max_images: int | None = None,
) -> ImageDataset | PackedDataset:
    """Open a `.fgpack` file as a `PackedDataset`, and anything else as an `ImageDataset`.

    Args:
        path: a folder, a .zip, .tar or .fgpack file, or a folder of .tar files.
        resolution: (height, width) in pixels, or an int for both, to which images are cropped and
            resized; the images of a .fgpack file must have this size. None keeps the size.
        use_labels: whether to read the labels.
        max_images: maximum number of images, taken evenly over the sorted names; None takes all.

    Returns:
        The data set; `dataset[i]` is (uint8 [C, H, W], float32 [label_dim]).

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a damaged or unknown file; the message names it and what to do.
    """
    path = Path(path)
    kind = PackedDataset if path.suffix.lower() == SUFFIX and path.is_file() else ImageDataset
    return kind(path, resolution=resolution, use_labels=use_labels, max_images=max_images)
