# SPDX-License-Identifier: Apache-2.0
"""`Loader`, the data set of a run's configuration, and what a step gets of them."""

from typing import Any, Protocol

import torch
from torch import Tensor

from fastgan._trees import map_tensors, num_rows
from fastgan.data import BatchLoader
from fastgan.data.device_copies import DeviceCopies
from fastgan.modalities import load_modality
from fastgan.training.config.run import TrainConfig
from fastgan.training.loop.generator_call import concatenated
from fastgan.training.step.batch import Batch, rows_of_rank
from fastgan.training.step.picks import Picks
from fastgan.training.step.state import TrainState

__all__ = [
    "CopyingLoader",
    "Loader",
    "RankLoader",
    "first_samples",
    "held_out_batch",
    "open_dataset",
    "step_input",
]


class Loader(Protocol):
    """What `train` needs of a loader."""

    def batch_at(self, position: int) -> tuple[Any, Any]:
        """One batch: a pure function of the position.

        Args:
            position: of its first sample in the stream of samples.

        Returns:
            x [N, ...] with N = `config.batch`, or a tree of such tensors, and its condition: c
            [N, c_dim], a tree of tensors [N, ...], or None.
        """


class RankLoader:
    """The loader of one rank: the rows rank, rank + world_size, … of another loader's batches."""

    def __init__(self, loader: Loader, rank: int, world_size: int):
        self._loader, self._rank, self._world_size = loader, rank, world_size

    def batch_at(self, position: int) -> tuple[Any, Any]:
        def rows(t: Tensor) -> Tensor:
            return rows_of_rank(t, self._rank, self._world_size)

        return map_tensors(rows, tuple(self._loader.batch_at(position)))


class CopyingLoader:
    """Another loader's batches on a device, copied without waiting for what the device computes."""

    def __init__(self, loader: Loader, device: torch.device):
        self._loader, self._device = loader, device
        self._copies = DeviceCopies(device)

    def batch_at(self, position: int) -> tuple[Any, Any]:
        return map_tensors(self._on_device, tuple(self._loader.batch_at(position)))

    def _on_device(self, t: Tensor) -> Tensor:
        if t.device.type == self._device.type:
            return t
        return self._copies.receive(self._copies.send(t))[0]


def open_dataset(config: TrainConfig) -> Any:
    """The samples of `config.data`, checked against the model. ValueError where they do not fit."""
    return load_modality(config.data.modality).data.open_data(config.data, config.model)


def held_out_batch(state: TrainState, n: int) -> Batch | None:
    """At most n real samples that a run never trains on, on its device; None where there are none.

    Args:
        state: of the run; images that its ADA holds out are taken first.
        n: the most samples.
    """
    config, images = state.config, getattr(state.ada, "held_out", None)
    if images is not None:
        some = slice(0, None, -(-len(images) // n))
        labels = state.ada.labels
        return Batch(x=images[some], c=None if labels is None else labels[some])
    found = load_modality(config.data.modality).held_out(config.data, config.model, n)
    return None if found is None else _batch_on(state.device, *found)


def first_samples(loader: Loader, n: int) -> Any:
    """The n samples [n, ...] that a run sees first, on the CPU: a tree of tensors."""
    parts: list[Any] = []
    count = 0
    while count < n:
        parts.append(map_tensors(lambda t: t.cpu(), loader.batch_at(count)[0]))
        count += num_rows(parts[-1])
    return map_tensors(lambda t: t[:n], concatenated(parts))


def step_input(loader: Loader, state: TrainState) -> Batch | Picks:
    """The real samples of the next step, on the state's device or as places in what it holds."""
    if isinstance(loader, BatchLoader) and loader.images is not None:
        return Picks(loader.images, *loader.places_at(state.position))
    return _batch_on(state.device, *loader.batch_at(state.position))


def _batch_on(device: torch.device, x: Any, c: Any) -> Batch:
    if isinstance(c, Tensor) and c.ndim == 2 and c.shape[1] == 0:
        c = None  # labels of no length
    x, c = map_tensors(lambda t: t.to(device), (x, c))
    return Batch(x=x, c=c)
