# SPDX-License-Identifier: Apache-2.0
"""Some of the images of a data set, as a data set of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np


class ImagePart:
    """The images of a data set at some indices, in their order, for `fastgan.data.BatchLoader`.

    Args:
        dataset: ImageDataset, PackedDataset, or anything with len, [i], image_shape and label_dim.
        indices: of the images.

    Attributes:
        dataset: the whole.
        indices: int64 [n].

    Other attributes, such as image_shape and label_dim, are those of the whole data set.
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, dtype=np.int64)
        if hasattr(dataset, "take"):
            self.take = lambda places: dataset.take(self.indices[places])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.dataset[int(self.indices[index])]

    def label(self, index: int) -> np.ndarray:
        """The label of one image, without decoding the image."""
        return self.dataset.label(int(self.indices[index]))

    def __getattr__(self, name: str) -> Any:
        if name in ("dataset", "take"):
            raise AttributeError(name)
        return getattr(self.dataset, name)
