# SPDX-License-Identifier: Apache-2.0
"""Batches as a function of (seed, position), so that resuming needs only the position."""

import math
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from fastgan.data.device_copies import DeviceCopies, Sent
from fastgan.data.epoch_order import Balanced, indices_at, seeded, shuffled
from fastgan.data.image_dataset import ImageDataset
from fastgan.data.packed_dataset import PackedDataset
from fastgan.data.resident_images import normalised, one_hot, placement, resident
from fastgan.data.shared_pixels import Machine, decode_once, known_labels

DEFAULT_RAM_LIMIT = 4 * 2**30


class BatchLoader:
    """Shuffled batches of a data set of N images.

    The images are shown in epochs: positions e·N … e·N + N - 1 show each image exactly once, in
    an order drawn from (seed, e). A batch may cross an epoch's end.

    All images are decoded once into one uint8 tensor when that takes at most `ram_limit` bytes
    (`is_in_ram` is then True). Otherwise each batch is decoded by `workers` threads, and the
    following batch is decoded ahead. A data set with `take(indices)`, such as a PackedDataset,
    needs no decoding; only the following batch is read ahead. For a GPU the threads also copy the
    following batch to it, on a stream of their own, while the GPU computes.

    Args:
        dataset: ImageDataset, PackedDataset, or anything with len, [i] → (uint8 [C, H, W], float32
            [label_dim]), image_shape and label_dim.
        batch: images per batch.
        seed: seed of the order and of the mirrored images.
        mirror: whether an image is flipped left to right in one epoch of each pair (2k, 2k + 1)
            and not in the other; which one is drawn from (seed, k).
        device: device of the batches; they are copied as uint8 and become float there.
        ram_limit: maximum bytes of decoded images that are kept in memory; the default is 4 GiB.
        workers: threads that decode; None is half of the processors that this process may use, at
            least 2 and at most 8.
        part: (r, n), for rank r of n: only rows r, r + n, … of each batch are decoded and returned;
            n must divide batch.
        machine: the processes of this machine, with loaders of the same data set: they decode it
            once, into memory that they share. Default: this process alone.
        on_device: whether all pixels are kept as uint8 on `device` and batches are gathered there:
            "on" (then all are decoded, whatever `ram_limit` is), "off" (default), or "auto": where
            they fit (`resident_images.placement`).
        class_balance: from 0 to 1, how far the classes are shown equally often
            (`epoch_order.Balanced`); labels must be one-hot then. Default 0: each image is shown
            once in an epoch.
        progress: called with (done, N) while images are decoded into memory; N is this process's
            share of them.

    Attributes:
        images: the `ResidentImages` on the device, or None.
        why: where the pixels are kept and why, in a line for the log.

    Raises:
        ValueError: an argument is out of range, an image is damaged, or labels that are no classes
            shall be balanced.
    """

    def __init__(
        self,
        dataset: ImageDataset | PackedDataset,
        batch: int,
        *,
        seed: int,
        mirror: bool = False,
        device: torch.device | str = "cpu",
        ram_limit: int = DEFAULT_RAM_LIMIT,
        workers: int | None = None,
        part: tuple[int, int] = (0, 1),
        machine: Machine | None = None,
        on_device: str = "off",
        class_balance: float = 0.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        workers = default_workers() if workers is None else workers
        for what, value, least in (("batch", batch, 1), ("seed", seed, 0), ("workers", workers, 1)):
            if value < least:
                raise ValueError(f"BatchLoader: {what} must be at least {least}, got {value}")
        rank, ranks = part
        if not 0 <= rank < ranks or batch % ranks:
            raise ValueError(
                f"BatchLoader: part must be (r, n) with 0 <= r < n and n a divisor of batch "
                f"{batch}, got {part}"
            )
        self._rows = slice(rank, None, ranks)  # as in WholeBatches where there is one rank
        self.dataset, self.batch, self.seed, self.mirror = dataset, batch, seed, mirror
        self.device = torch.device(device)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="fastgan-data")
        self._copies = DeviceCopies(self.device)
        self._ahead: tuple[int, Future | None] = (-1, None)
        self._is_packed = hasattr(dataset, "take")
        self._pixels: Tensor | None = None
        self._labels: Tensor | None = None
        num_bytes = len(dataset) * math.prod(dataset.image_shape)
        fits = num_bytes <= ram_limit
        chosen = placement(on_device, dataset, self.device, is_decoded_once=fits or self._is_packed)
        self.is_in_ram = (fits or chosen.is_on_device) and not self._is_packed
        if self.is_in_ram:
            self._pixels, self._labels = decode_once(dataset, self._pool, machine, progress)
        self.images, self.why = None, chosen.why
        if chosen.is_on_device:
            self.images = resident(dataset, self._pixels, self._labels, self.device)
            self._pixels = self._labels = None  # no second copy
        order: Callable[[int], np.ndarray] = partial(shuffled, seed, count=len(dataset))
        if class_balance != 0:
            order = Balanced(seed, _classes(dataset), class_balance)
        self._order = lru_cache(maxsize=2)(order)
        self._flip_bits = lru_cache(maxsize=2)(self._draw_flip_bits)

    def batch_at(self, position: int) -> tuple[Tensor, Tensor]:
        """The batch that follows the first `position` images.

        Equal positions give equal batches, in whatever order they are requested. The caller may
        change the tensors.

        Args:
            position: number of images that were shown before.

        Returns:
            (x, c): x float32 [B, C, H, W] = pixel / 127.5 - 1, in [-1, 1]; c float32
            [B, label_dim]. B is `batch`, or the `part` of it.

        Raises:
            ValueError: position is negative.
        """
        return self._batch(position, self._rows)

    def places_at(self, position: int) -> tuple[Tensor, Tensor]:
        """What `images.gather` takes to make the batch of `batch_at`.

        Args:
            position: number of images that were shown before.

        Returns:
            (int64 [B], bool [B]), on the device.

        Raises:
            ValueError: position is negative.
        """
        return self._places(position, self._rows)

    @property
    def whole(self) -> "WholeBatches":
        """The same batches without `part`."""
        return WholeBatches(self)

    def _places(self, position: int, rows: slice) -> tuple[Tensor, Tensor]:
        indices, flips = (torch.from_numpy(table[rows]) for table in self.indices_at(position))
        return self._copies.receive(self._copies.send(indices, flips))

    def _batch(self, position: int, rows: slice) -> tuple[Tensor, Tensor]:
        if self.images is not None:
            return self.images.gather(*self._places(position, rows))
        at = tuple(table[rows] for table in self.indices_at(position))
        if self._pixels is not None and self.device.type == "cpu":
            sent = self._take(*at)
        elif rows == self._rows:
            sent = self._fetch(position, at)
        else:
            sent = self._submit(*at).result()
        x, c, *is_flipped = self._copies.receive(sent)
        x = normalised(x)
        if is_flipped:
            x = torch.where(is_flipped[0][:, None, None, None], x.flip(3), x)
        return x, c

    def indices_at(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Which images the whole batch has, and which of them are mirrored.

        Args:
            position: number of images that were shown before.

        Returns:
            (indices int64 [batch] into the data set, flips bool [batch]).

        Raises:
            ValueError: position is negative.
        """
        if position < 0:
            raise ValueError(f"BatchLoader: position must be at least 0, got {position}")
        parts = indices_at(position, self.batch, len(self.dataset), self._order)
        flips = [self._flip_bits(epoch // 2)[part] ^ bool(epoch % 2) for epoch, part in parts]
        return np.concatenate([part for _, part in parts]), np.concatenate(flips) & self.mirror

    def _draw_flip_bits(self, pair: int) -> np.ndarray:
        return seeded(self.seed, 1, pair).randint(0, 2, len(self.dataset)).astype(bool)

    def _fetch(self, position: int, at: tuple[np.ndarray, np.ndarray]) -> Sent:
        ahead, ready = self._ahead
        if ahead != position:
            ready = self._submit(*at)
        following = position + self.batch
        at = (table[self._rows] for table in self.indices_at(following))
        self._ahead = (following, self._submit(*at))
        return ready.result()

    def _submit(self, indices: np.ndarray, flips: np.ndarray) -> Future:
        """Begins to read a batch, and then to copy it to the device."""
        if self._pixels is not None or self._is_packed:
            return self._pool.submit(self._take, indices, flips)
        images = [self._pool.submit(self.dataset.__getitem__, int(index)) for index in indices]
        # comes after them in the pool's queue
        return self._pool.submit(self._stack, images, flips)

    def _take(self, indices: np.ndarray, flips: np.ndarray) -> Sent:
        if self._pixels is not None:
            at = torch.from_numpy(indices)
            labels = self._labels[at]
            if labels.ndim == 1:
                labels = one_hot(labels, torch.arange(self.dataset.label_dim))
            return self._send(self._pixels[at], labels, flips)
        images, labels = self.dataset.take(indices)
        return self._send(torch.from_numpy(images), torch.from_numpy(labels), flips)

    def _stack(self, futures: list[Future], flips: np.ndarray) -> Sent:
        images, labels = zip(*(future.result() for future in futures), strict=True)
        x, c = torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))
        return self._send(x, c, flips)

    def _send(self, x: Tensor, c: Tensor, flips: np.ndarray) -> Sent:
        is_flipped = (torch.from_numpy(flips),) if flips.any() else ()
        return self._copies.send(x, c, *is_flipped)


class WholeBatches:
    """`BatchLoader.whole`: every row of a batch, to show what a run sees.

    Args:
        loader: the loader whose `part` is ignored.
    """

    def __init__(self, loader: BatchLoader) -> None:
        self._loader = loader

    def batch_at(self, position: int) -> tuple[Tensor, Tensor]:
        """As `BatchLoader.batch_at`, with all rows."""
        return self._loader._batch(position, slice(0, None, 1))


def _classes(dataset: ImageDataset | PackedDataset) -> np.ndarray:
    """int64 [N]: the class of each image; ValueError where labels are not one-hot."""
    known = known_labels(dataset)
    if known is not None and known.ndim == 1:
        return known.numpy()
    labels = np.stack([dataset.label(index) for index in range(len(dataset))])
    if not (((labels == 0) | (labels == 1)).all() and (labels.sum(1) == 1).all()):
        raise ValueError(
            "BatchLoader: class_balance needs labels that are classes, got label vectors of "
            f"{labels.shape[1]} numbers; set it to 0, or pack the images with one class each"
        )
    return labels.argmax(1)


def default_workers() -> int:
    """Half of the processors that this process may use, at least 2 and at most 8."""
    is_linux = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if is_linux else os.cpu_count() or 1
    return min(max(count // 2, 2), 8)


def packing_advice(dataset: ImageDataset | PackedDataset) -> str | None:
    """A line for the user if the data set is too large for memory and not packed, else None.

    Nothing is packed unless the user does so, because that could fill a disk.
    """
    num_bytes = len(dataset) * math.prod(dataset.image_shape)
    if isinstance(dataset, PackedDataset) or num_bytes <= DEFAULT_RAM_LIMIT:
        return None
    _, h, w = dataset.image_shape
    return (
        f"data        {num_bytes / 2**30:.1f} GiB after decoding, which is more than is kept in "
        f"memory: every batch is decoded again. If data-wait shows that this is too slow, decode "
        f"the images once with `fastgan data pack {dataset.path} DEST.fgpack --resolution {w}x{h}`"
    )
