# SPDX-License-Identifier: Apache-2.0
"""The data set and the generated samples of `fastgan evaluate`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.train_config import data_path, is_imported

if TYPE_CHECKING:
    from fastgan.cli.evaluation.settings import Settings
    from fastgan.training.config.run import TrainConfig

__all__ = ["OneClass", "labels_of", "open_dataset", "part_sampler"]

_STREAM = 66  # of random numbers; those of training are below


def open_dataset(config: "TrainConfig", data: str | None, class_index: int | None) -> Any:
    from fastgan.modalities import load_modality

    if data is None and is_imported(config.name):
        raise click.BadParameter(
            "is needed for a folder of `fastgan import`: imported weights come without the data "
            "that they were trained on; name images to compare with, or 'avatars'",
            param_hint="--data",
        )
    own = config.data
    path = own.path if data is None else data_path(data, own.modality, own.options)
    changes: dict[str, Any] = {"path": path, "max_images": None}
    if config.is_image_model:  # other images are resized to the model's size
        changes["resolution"] = (config.model.img_height, config.model.img_width)
    modality = load_modality(config.data.modality)
    try:
        dataset = modality.data.open_data(config.with_changes(data=changes).data, config.model)
    except ValueError as error:
        c_dim = getattr(config.model, "c_dim", 0)
        if c_dim and data is not None and "label_dim" in str(error):
            raise click.BadParameter(
                f"{config.name} takes labels of {c_dim} numbers, which the images of {data} do not "
                "have; name images with such labels or classes in dataset.json",
                param_hint="--data",
            ) from error
        raise
    if class_index is None:
        return dataset
    return OneClass(getattr(dataset, "held_out", dataset), class_index)


class OneClass:
    """The images of one class of a data set.

    Args:
        images: with `label(index)`, one-hot.
        index: the class, counted from 0.

    Raises:
        ValueError: there is no image of it, or labels are no classes.
    """

    def __init__(self, images: Any, index: int) -> None:
        self._images = images
        self.path, self.label_dim = images.path, images.label_dim
        self.image_shape = images.image_shape
        labels = [images.label(i) for i in range(len(images))]
        if any(c.max() != 1 or c.sum() != 1 for c in labels):
            raise ValueError(f"--class: {images.path} has labels that are no classes; use --label")
        self._members = [i for i, c in enumerate(labels) if c.argmax() == index]
        if not self._members:
            raise ValueError(f"--class: {images.path} has no image of class {index}")

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> Any:
        return self._images[self._members[index]]

    def label(self, index: int) -> Any:
        """The label of an image.

        Args:
            index: position of the image.

        Returns:
            float32 [label_dim].
        """
        return self._images.label(self._members[index])


def part_sampler(
    G: Any, config: "TrainConfig", evaluator: Any, seed: int, settings: "Settings"
) -> Callable[[int, int], Any]:
    """part(first, n) → samples first … first + n - 1 of a stream drawn from `seed`.

    Conditions are those of the evaluator's data set, in the evaluator's order, or that of the
    settings. Parts of `evaluator.batch` samples are asked for in rising order; those that are left
    out, which other ranks compute, change nothing.
    """
    import torch

    from fastgan import sample_rng
    from fastgan._trees import map_tensors
    from fastgan.metrics.shared_parts import OrderedDraws
    from fastgan.modalities import load_modality
    from fastgan.training.loop.generator_call import call_generator

    modality = load_modality(config.data.modality)
    device = next(iter(G.parameters())).device
    generator = torch.Generator().manual_seed(seed)
    key = sample_rng.step_key(seed, 0)

    def draw(n: int) -> Any:
        if hasattr(G, "sample_latents") or config.latents == "none":
            return None
        if config.latents == "normal":
            return torch.randn([n, G.z_dim], generator=generator)
        return torch.rand([n, G.z_dim], generator=generator) * 2 - 1

    drawn = OrderedDraws(draw, evaluator.batch)
    conditions = _conditions(
        settings, lambda first, n: modality.conditions(
            evaluator.dataset, evaluator.condition_indices(first, n))
    )  # fmt: skip

    @torch.no_grad()
    def part(first: int, n: int) -> Any:
        z = map_tensors(lambda t: t.to(device), drawn.part(first, n))
        c = map_tensors(lambda t: t.to(device), conditions(first, n))
        torch.manual_seed(key + first)  # for what G draws from torch itself
        with sample_rng.sample_stream(key, _STREAM, first=first):
            if hasattr(G, "sample_latents"):
                z = G.sample_latents(n, device)
            return call_generator(G, z, c, noise_mode="const", **settings.truncation())

    return part


def labels_of(
    modality: Any, dataset: Any, G: Any, settings: "Settings"
) -> Callable[[int, int], Any]:
    """(first, n) → the conditions of n samples of the data set in turn, on G's device, or None."""
    import numpy as np

    from fastgan._trees import map_tensors

    device = next(iter(G.parameters())).device
    conditions = _conditions(
        settings, lambda first, n: modality.conditions(
            dataset, (np.arange(n) + first) % len(dataset))
    )  # fmt: skip

    def labels(first: int, n: int) -> Any:
        return map_tensors(lambda t: t.to(device), conditions(first, n))

    return labels


def _conditions(
    settings: "Settings", of_data: Callable[[int, int], Any]
) -> Callable[[int, int], Any]:
    import torch

    if settings.label is None or isinstance(settings.label, int):
        return of_data
    return lambda first, n: torch.tensor([settings.label]).expand(n, -1)
