# SPDX-License-Identifier: Apache-2.0
"""`data_remark`: what is striking about a run's images, said before its first step."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["data_remark"]

_FEW = 100  # images
_LOOKS = 256  # images
_MOST_BYTES = 2**26  # of the images that are looked at


def data_remark(dataset: Any) -> str:
    """Words on images that are few, equal or of one colour, or "".

    Up to 256 images of at most 64 MiB together, evenly spread over the data set, are decoded.

    Args:
        dataset: [i] → (uint8 [C, H, W], label), with `image_shape`. Other samples, or None, have no
            remark, and neither have images that can't be decoded: training names those.
    """
    shape = getattr(dataset, "image_shape", None)
    if shape is None or not len(dataset):
        return ""
    looks = min(len(dataset), _LOOKS, max(1, _MOST_BYTES // math.prod(shape)))
    indices = [i * len(dataset) // looks for i in range(looks)]
    try:
        images = _facts(dataset, indices)
    except (OSError, ValueError):
        return ""
    constant = sum(is_constant for _, is_constant in images)
    equal = looks - len({digest for digest, _ in images})
    words = []
    if len(dataset) < _FEW:
        words.append(f"only {len(dataset)} image{'s' * (len(dataset) > 1)}, which G may only copy")
    if constant > looks / 10:
        words.append(f"{constant} of {looks} images that were looked at have one colour alone")
    if equal > looks / 10:
        words.append(f"{equal} of {looks} images that were looked at are copies of others")
    return "; ".join(words)


def _facts(dataset: Any, indices: Sequence[int]) -> list[tuple[bytes, bool]]:
    """(hash, whether all pixels have one colour) of each image."""
    found = []
    for index in indices:
        image = np.ascontiguousarray(dataset[index][0])
        is_constant = bool((image == image[:, :1, :1]).all())
        found.append((hashlib.sha256(image).digest(), is_constant))
    return found
