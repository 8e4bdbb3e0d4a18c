# SPDX-License-Identifier: Apache-2.0
"""A data set as uint8 in the memory of a device, where batches are gathered and normalised."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastgan.data.shared_pixels import known_labels

__all__ = [
    "LARGEST_SHARE",
    "MODES",
    "Placement",
    "ResidentImages",
    "normalised",
    "placement",
    "resident",
]

MODES = ("auto", "on", "off")
LARGEST_SHARE = 8  # of a device's memory an eighth, and at most half of what is free
_IMAGES_AT_ONCE = 2**28  # bytes that are copied to the device at once


class Placement(NamedTuple):
    """Whether a data set is kept on the device, and why.

    Attributes:
        is_on_device: the choice.
        why: a line for the log, with the bytes.
    """

    is_on_device: bool
    why: str


class ResidentImages:
    """All pixels of a data set on one device.

    Args:
        pixels: uint8 [N, C, H, W].
        labels: int64 [N], classes, or float32 [N, label_dim], on the same device.
        label_dim: numbers of a label; default: those of the vectors. Classes become one-hot.
    """

    def __init__(self, pixels: Tensor, labels: Tensor, label_dim: int | None = None) -> None:
        self.pixels, self.labels = pixels, labels
        self._classes: Tensor | None = None
        if labels.ndim == 1:
            self._classes = torch.arange(label_dim, device=labels.device)

    def gather(self, indices: Tensor, flips: Tensor) -> tuple[Tensor, Tensor]:
        """A batch, bit for bit that of `fastgan.data.BatchLoader` on the same device.

        It waits for nothing and its shapes depend on no value: a CUDA graph can contain it.

        Args:
            indices: int64 [B], on the device.
            flips: bool [B], on the device: which images are mirrored left to right.

        Returns:
            x float32 [B, C, H, W] in [-1, 1], and c float32 [B, label_dim].
        """
        x = self.pixels.index_select(0, indices)
        x = torch.where(flips[:, None, None, None], x.flip(3), x)
        labels = self.labels.index_select(0, indices)
        if self._classes is not None:
            labels = one_hot(labels, self._classes)
        return normalised(x), labels


def one_hot(labels: Tensor, classes: Tensor) -> Tensor:
    """float32 [B, label_dim] of classes int64 [B], where `classes` is 0 … label_dim - 1."""
    return (labels[:, None] == classes).to(torch.float32)


def normalised(x: Tensor) -> Tensor:
    """float32 pixel / 127.5 - 1 of uint8 images, on any device."""
    return x.to(torch.float32).div_(127.5).sub_(1)


def placement(
    mode: str,
    dataset: Any,
    device: torch.device,
    *,
    is_decoded_once: bool,
    memory: Callable[[torch.device], tuple[int, int]] = torch.cuda.mem_get_info,
) -> Placement:
    """Whether to keep a data set on the device of the training.

    Args:
        mode: "on", "off", or "auto": on a GPU of whose memory the data take at most an eighth, and
            at most half of what is free.
        dataset: with len and image_shape.
        device: of the training.
        is_decoded_once: whether its pixels are packed, or fit into this machine's memory.
        memory: returns the free and the total bytes of a device.

    Returns:
        The choice and its reason.

    Raises:
        ValueError: for another mode.
    """
    if mode not in MODES:
        raise ValueError(f"BatchLoader: on_device must be one of {', '.join(MODES)}, got {mode!r}")
    needed = len(dataset) * math.prod(dataset.image_shape)
    size = f"{needed:,} bytes of pixels"
    if mode == "off":
        return Placement(False, f"{size} stay in this machine's memory or on its disk, as asked")
    if mode == "on":
        return Placement(True, f"{size} are kept on {device}, as asked")
    if device.type != "cuda":
        return Placement(False, f"{size} are not copied: the device is a {device.type}")
    if not is_decoded_once:
        return Placement(
            False, f"{size} are more than is decoded into memory, so that none is kept on "
            f"{device}; pack them (fastgan data pack)",
        )  # fmt: skip
    free, total = memory(device)
    limit = min(total // LARGEST_SHARE, free // 2)
    if needed > limit:
        return Placement(
            False, f"{size} are not kept on {device}: more than {limit:,}, an eighth of its memory "
            f"or half of the {free:,} bytes that are free",
        )  # fmt: skip
    return Placement(True, f"{size} are kept on {device}, {100 * needed / total:.1f} % of it")


def resident(
    dataset: Any, pixels: Tensor | None, labels: Tensor | None, device: torch.device
) -> ResidentImages:
    """A data set on a device: of its decoded pixels and labels, or of a packed one's file."""
    dim = dataset.label_dim
    if pixels is not None:
        return ResidentImages(pixels.to(device), labels.to(device), dim)
    count = len(dataset)
    pixels = torch.empty((count, *dataset.image_shape), dtype=torch.uint8, device=device)
    known = known_labels(dataset)
    labels = torch.empty((count, dim), device=device) if known is None else known.to(device)
    at_once = max(_IMAGES_AT_ONCE // math.prod(dataset.image_shape), 1)
    for rows in torch.arange(count).split(at_once):
        images, encoded = dataset.take(rows.numpy())
        pixels[rows[0] : rows[-1] + 1] = torch.from_numpy(images)
        if known is None:
            labels[rows[0] : rows[-1] + 1] = torch.from_numpy(encoded)
    return ResidentImages(pixels, labels, dim)
