"""Where a run's batches come from."""

from typing import Protocol

import torch
from torch import Tensor

from fastgan.data import ImageDataset, PackedDataset, default_dataset, open_images
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.micro_batch import own_rows

__all__ = ["Loader", "OwnRows", "first_samples", "open_dataset"]


class Loader(Protocol):
    """Anything that gives the batch at a position, counted in samples; a pure function of it.

    Returns x [N, ...] with N = config.batch and c [N, c_dim], or None where c_dim is 0.
    """

    def batch_at(self, position: int) -> tuple[Tensor, Tensor | None]: ...


class OwnRows:
    """The loader of a process that has rows rank, rank + ranks, … of another loader's batches."""

    def __init__(self, loader: Loader, rank: int, ranks: int):
        self._loader, self._rank, self._ranks = loader, rank, ranks

    def batch_at(self, position: int) -> tuple[Tensor, Tensor | None]:
        x, c = self._loader.batch_at(position)
        return (
            own_rows(x, self._rank, self._ranks),
            None if c is None else own_rows(c, self._rank, self._ranks),
        )


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
