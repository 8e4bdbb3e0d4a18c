"""The data set at a path, whatever kind it is of."""

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
    """A `PackedDataset` of a `.fgpack` file, an `ImageDataset` of anything else."""
    path = Path(path)
    kind = PackedDataset if path.suffix.lower() == SUFFIX and path.exists() else ImageDataset
    return kind(path, resolution=resolution, use_labels=use_labels, max_images=max_images)
