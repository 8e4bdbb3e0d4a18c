"""The data set and the generated samples of `fastgan evaluate`."""

from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.train_config import data_path, is_imported

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig

__all__ = ["labels_of", "open_dataset", "sampler"]


def open_dataset(config: "TrainConfig", data: str | None) -> Any:
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
    return modality.data.open_data(config.with_changes(data=changes).data, config.model)


def sampler(G: Any, config: "TrainConfig", evaluator: Any, seed: int) -> Any:
    """sample(n) -> the next n samples of a stream drawn from `seed`.

    Conditions are those of the evaluator's data set, in the evaluator's order.
    """
    import torch

    from fastgan._trees import map_tensors
    from fastgan.modalities import load_modality
    from fastgan.training.loop.generator_call import call_generator

    modality = load_modality(config.data.modality)
    device = next(iter(G.parameters())).device
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # for what G draws besides
    shown = 0

    @torch.no_grad()
    def sample(n: int) -> Any:
        nonlocal shown
        z, latents = None, config.latents
        if hasattr(G, "sample_latents"):
            z = G.sample_latents(n, device)
        elif latents == "normal":
            z = torch.randn([n, G.z_dim], generator=generator).to(device)
        elif latents == "uniform":
            z = (torch.rand([n, G.z_dim], generator=generator) * 2 - 1).to(device)
        c = modality.conditions(evaluator.dataset, evaluator.condition_indices(shown, n))
        shown += n
        c = map_tensors(lambda t: t.to(device), c)
        return call_generator(G, z, c, noise_mode="const")

    return sample


def labels_of(modality: Any, dataset: Any, G: Any) -> Any:
    """(first, n) → the conditions of n samples of the data set in turn, on G's device, or None."""
    import numpy as np

    from fastgan._trees import map_tensors

    device = next(iter(G.parameters())).device

    def labels(first: int, n: int) -> Any:
        c = modality.conditions(dataset, (np.arange(n) + first) % len(dataset))
        return map_tensors(lambda t: t.to(device), c)

    return labels
