# SPDX-License-Identifier: Apache-2.0
"""Decoded images that the processes of one machine hold once, in memory that they share."""

import contextlib
import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fastgan.data.image_dataset import ImageDataset, faulty_images
from fastgan.data.image_part import ImagePart
from fastgan.data.packed_dataset import PackedDataset

__all__ = ["Machine", "decode_once"]

Progress = Callable[[int, int], None]


class Machine(Protocol):
    """The processes of one machine that show the same data set; one of them calls.

    Attributes:
        rank: of this process, from 0.
        size: the number of processes.
    """

    rank: int
    size: int

    def share(self, name: str, value: str) -> str:
        """The `value` that rank 0 passes, on every rank; all ranks call it."""

    def barrier(self, name: str) -> None:
        """Waits until all ranks have called it."""


def decode_once(
    dataset: Any, pool: Executor, machine: Machine | None, progress: Progress | None
) -> tuple[Tensor, Tensor]:
    """Decodes every image of a data set once on this machine, whatever the number of processes.

    Each process decodes every `machine.size`-th image, into memory that all of them map. It has no
    name that could outlive them, and is free again when the last one has ended.

    Args:
        dataset: as `fastgan.data.BatchLoader` takes it.
        pool: of the threads that decode.
        machine: the processes of this machine; None for this one alone.
        progress: called with (done, total) of this process's images.

    Returns:
        uint8 [N, C, H, W], and the labels: int64 [N] where an ImageDataset, a PackedDataset or a
        part of one has classes, else float32 [N, label_dim].

    Raises:
        OSError: when there is too little memory, or another process's can't be opened.
        ValueError: when images are damaged; all are named, up to 20.
    """
    shape = (len(dataset), *dataset.image_shape)
    known = known_labels(dataset)
    dim = dataset.label_dim if known is None else 0
    if machine is None or machine.size == 1:
        pixels = torch.empty(shape, dtype=torch.uint8)
        labels = torch.empty((len(dataset), dim))
        _decode(dataset, pool, pixels, labels, range(len(dataset)), progress)
        return pixels, labels if known is None else known
    size = math.prod(shape)
    start_of_labels = -(-size // 64) * 64
    total = start_of_labels + 4 * len(dataset) * dim
    with _new_memory(total) if machine.rank == 0 else contextlib.nullcontext("") as path:
        with Path(machine.share("memory of the decoded images", path)).open("r+b") as file:
            shared = torch.from_numpy(np.frombuffer(mmap.mmap(file.fileno(), total), np.uint8))
        pixels = shared[:size].view(shape)
        labels = shared[start_of_labels:].view(torch.float32).view(len(dataset), dim)
        own = range(machine.rank, len(dataset), machine.size)
        _decode(dataset, pool, pixels, labels, own, progress)
        machine.barrier("decoded images")
    return pixels, labels if known is None else known


def known_labels(dataset: Any) -> Tensor | None:
    """The labels that our data sets keep: int64 [N] or float32 [N, label_dim]; None for others."""
    if isinstance(dataset, ImagePart):
        whole = known_labels(dataset.dataset)
        return None if whole is None else whole[torch.from_numpy(dataset.indices)]
    if not isinstance(dataset, ImageDataset | PackedDataset):
        return None
    labels = dataset.labels
    return torch.from_numpy(labels.astype(np.int64 if labels.ndim == 1 else np.float32))


def _decode(
    dataset: Any,
    pool: Executor,
    pixels: Tensor,
    labels: Tensor,
    indices: range,
    progress: Progress | None,
) -> None:
    rows, has_labels = pixels.numpy(), labels.shape[1] > 0

    def fill(index: int) -> np.ndarray | ValueError:
        try:
            rows[index], label = dataset[index]
        except ValueError as error:
            return error
        return label

    faults = []
    for done, (index, label) in enumerate(
        zip(indices, pool.map(fill, indices), strict=True), start=1
    ):
        if isinstance(label, ValueError):
            faults.append(str(label))
        elif has_labels:
            labels[index] = torch.from_numpy(label)
        if progress is not None:
            progress(done, len(indices))
    if faults:
        raise faulty_images(faults, len(indices))


@contextlib.contextmanager
def _new_memory(size: int) -> Iterator[str]:
    """A path under which the other processes can map new memory while the context lasts.

    An anonymous file where the system has them: containers often make /dev/shm too small.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("fastgan decoded images"), "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # now an error, and not later a SIGBUS
            yield f"/proc/{os.getpid()}/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile(prefix="fastgan-") as file:
        file.truncate(size)
        yield file.name
