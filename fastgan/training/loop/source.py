"""`Loader`, the data set of a run's configuration, and what a step gets of them."""

from typing import Protocol

import torch
from torch import Tensor

from fastgan.data import BatchLoader, ImageDataset, PackedDataset, default_dataset, open_images
from fastgan.data.device_copies import DeviceCopies
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.batch import Batch, rows_of_rank
from fastgan.training.step.picks import Picks
from fastgan.training.step.state import TrainState

__all__ = ["CopyingLoader", "Loader", "RankLoader", "first_samples", "open_dataset", "step_input"]


class Loader(Protocol):
    """What `train` needs of a loader."""

    def batch_at(self, position: int) -> tuple[Tensor, Tensor | None]:
        """One batch: a pure function of the position.

        Args:
            position: of its first sample in the stream of samples.

        Returns:
            x [N, ...] with N = `config.batch`, and c [N, c_dim], or None where c_dim is 0.
        """


class RankLoader:
    """The loader of one rank: the rows rank, rank + world_size, … of another loader's batches."""

    def __init__(self, loader: Loader, rank: int, world_size: int):
        self._loader, self._rank, self._world_size = loader, rank, world_size

    def batch_at(self, position: int) -> tuple[Tensor, Tensor | None]:
        x, c = self._loader.batch_at(position)
        x = rows_of_rank(x, self._rank, self._world_size)
        return x, None if c is None else rows_of_rank(c, self._rank, self._world_size)


class CopyingLoader:
    """Another loader's batches on a device, copied without waiting for what the device computes."""

    def __init__(self, loader: Loader, device: torch.device):
        self._loader, self._device = loader, device
        self._copies = DeviceCopies(device)

    def batch_at(self, position: int) -> tuple[Tensor, Tensor | None]:
        x, c = self._loader.batch_at(position)
        return self._on_device(x), None if c is None else self._on_device(c)

    def _on_device(self, t: Tensor) -> Tensor:
        if t.device.type == self._device.type:
            return t
        return self._copies.receive(self._copies.send(t))[0]


def open_dataset(config: TrainConfig) -> ImageDataset | PackedDataset:
    """The images of `config.data`, checked against the model. ValueError where they do not fit."""
    data, model = config.data, config.model
    if not config.is_image_model:
        raise ValueError(
            f"train: model.data_shape is {model.data_shape}, and config.data reads images; pass "
            "train(..., loader=) with a batch_at(position)"
        )
    shape = getattr(model, "data_shape", None)
    shape = shape or (model.img_channels, model.img_height, model.img_width)
    path, resolution = data.path, data.resolution
    if path is None:
        path, resolution = default_dataset(max(shape[1:])), shape[1:]
    dataset = open_images(
        path, resolution=resolution, use_labels=data.use_labels, max_images=data.max_images
    )
    if (dataset.image_shape, dataset.label_dim) != (shape, model.c_dim):
        raise ValueError(
            f"train: the model takes images {shape} and c_dim {model.c_dim}, but {path} holds "
            f"{dataset.image_shape} and label_dim {dataset.label_dim}; set data.resolution, "
            "data.use_labels, or the model's img_channels, img_height, img_width and c_dim"
        )
    return dataset


def first_samples(loader: Loader, n: int) -> Tensor:
    """The n samples [n, ...] that a run sees first, on the CPU."""
    parts: list[Tensor] = []
    count = 0
    while count < n:
        parts.append(loader.batch_at(count)[0].cpu())
        count += len(parts[-1])
    return torch.cat(parts)[:n]


def step_input(loader: Loader, state: TrainState) -> Batch | Picks:
    """The real samples of the next step, on the state's device or as places in what it holds."""
    if isinstance(loader, BatchLoader) and loader.images is not None:
        return Picks(loader.images, *loader.places_at(state.position))
    x, c = loader.batch_at(state.position)
    c = c.to(state.device) if state.G.c_dim else None
    return Batch(x=x.to(state.device), c=c)
