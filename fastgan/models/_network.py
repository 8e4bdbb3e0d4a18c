"""What networks share: how G and D begin, are kept in a folder and read back.

`save_pretrained` and `from_pretrained` keep a network as a folder, without any network access:

    FOLDER/config.json          {"fastgan": format, "architecture", "network", "config": {...}}
    FOLDER/model.safetensors    the state_dict

The names are those of `huggingface_hub.PyTorchModelHubMixin`, which can upload such a folder.
"""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from fastgan._extras import Extra
from fastgan.atomic import write_atomic
from fastgan.models._checks import check_condition, check_latents, check_samples
from fastgan.names import refuse_names
from fastgan.nn import MappingNetwork
from fastgan.nn.noise import check_noise_mode

safetensors = Extra("safetensors", "train")
safetensors_torch = Extra("safetensors.torch", "train")
FORMAT = 1
_KEYS = {"fastgan", "architecture", "network", "config"}


class Network(nn.Module):
    """A generator or discriminator that is made from a Config, and can be kept in a folder.

    Args:
        config: the Config of the network's own architecture, kept as ``config``.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the configuration and the weights; config.json last, each file whole or not at all.

        Args:
            folder: a local folder, which is made where it is missing.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        document = {
            "fastgan": FORMAT,
            "architecture": _architecture(type(self)),
            "network": type(self).__name__,
            "config": dataclasses.asdict(self.config),
        }
        state = {name: t.detach().cpu().contiguous() for name, t in self.state_dict().items()}
        write_atomic(folder / "model.safetensors", safetensors_torch.save(_unshared(state)))
        text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"
        write_atomic(folder / "config.json", text)

    @classmethod
    def from_pretrained(cls, folder: Path | str, *, device: torch.device | str = "cpu") -> Self:
        """Read a network that `save_pretrained` wrote.

        Args:
            folder: a local folder; nothing is downloaded.
            device: where the weights go.

        Returns:
            The network, in eval mode.

        Raises:
            ValueError: for no such folder, another network or format, or a missing or unknown key
                of the configuration or name of a tensor, each named.
        """
        folder = Path(folder)
        document = _read_document(folder)
        architecture = _architecture(cls)
        found = document["architecture"], document["network"]
        if found != (architecture, cls.__name__):
            raise ValueError(
                f"from_pretrained: {folder} holds a {found[1]} of {found[0]}, and this is "
                f"{cls.__name__} of {architecture}; fastgan.models.load_architecture("
                f"{found[0]!r}).{found[1]} loads it"
            )
        kind: Any = importlib.import_module(f"fastgan.models.{architecture}").Config
        wanted, got = {f.name for f in dataclasses.fields(kind)}, document["config"].keys()
        what = f"from_pretrained: configuration of {folder}"
        refuse_names(what, wanted - got, got - wanted)
        network = cls(kind(**document["config"]))
        try:
            state = safetensors_torch.load((folder / "model.safetensors").read_bytes())
        except (OSError, safetensors.SafetensorError) as error:
            raise ValueError(f"from_pretrained: {folder}/model.safetensors: {error}") from error
        missing, unknown = network.load_state_dict(state, strict=False)  # a layer may read others
        refuse_names(f"from_pretrained: weights of {folder}", missing, unknown)
        return network.to(device).eval()


class LatentGenerator(Network):
    """A generator of samples from noise, G(z, c) -> [N, *config.sample_shape].

    ``forward`` takes z, floating point [N, z_dim], drawn from N(0, 1); c, floating point
    [N, c_dim], or None where c_dim is 0; truncation_psi, which moves each sample towards the mean
    one: 1 leaves it alone, 0 gives the mean; and noise_mode, where the noise of G's own layers
    comes from: "random" (drawn), "const" (a buffer) or "none".
    It raises ValueError for inputs of another shape or dtype.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.z_dim = config.z_dim
        self.c_dim = config.c_dim

    def _check_inputs(self, z: torch.Tensor, c: torch.Tensor | None, noise_mode: str) -> None:
        check_latents("Generator", z, self.z_dim)
        check_condition("Generator", c, z.shape[0], self.c_dim)
        check_noise_mode("Generator", noise_mode)


class StyleGenerator(LatentGenerator):
    """A generator in two halves.

    ``mapping(z, c, truncation_psi=, truncation_cutoff=, update_w_avg=)`` -> ws [N, num_ws, w_dim]
    is a `fastgan.nn.MappingNetwork`; ``synthesis(ws, noise_mode=)`` makes samples of ws.
    ``forward`` is the one after the other. It also takes truncation_cutoff, how many of a sample's
    ws are truncated (None: all), and update_w_avg, whether the mean w moves in training mode.
    """

    def forward(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "random",
        update_w_avg: bool = True,
    ) -> torch.Tensor:
        self._check_inputs(z, c, noise_mode)
        ws = self.mapping(
            z,
            c,
            truncation_psi=truncation_psi,
            truncation_cutoff=truncation_cutoff,
            update_w_avg=update_w_avg,
        )
        return self.synthesis(ws, noise_mode=noise_mode)

    def _add_mapping(self, num_ws: int, w_avg_beta: float | None, **options: Any) -> None:
        """Sets ``num_ws``, ``w_dim`` and ``mapping``."""
        config = self.config
        self.num_ws, self.w_dim = num_ws, config.w_dim
        self.mapping = MappingNetwork(
            config.z_dim,
            config.c_dim,
            config.w_dim,
            num_ws,
            num_layers=config.mapping_layers,
            lr_multiplier=config.mapping_lr_multiplier,
            w_avg_beta=w_avg_beta,
            **options,
        )


class SampleDiscriminator(Network):
    """A discriminator of samples, D(x, c) -> logits [N, 1].

    ``forward`` takes x, floating point [N, *config.sample_shape], and c, floating point [N, c_dim],
    or None where c_dim is 0. It raises ValueError for inputs of another shape or dtype.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.c_dim = config.c_dim

    def _check_inputs(self, x: torch.Tensor, c: torch.Tensor | None) -> None:
        check_samples("Discriminator", x, self.config.sample_shape)
        check_condition("Discriminator", c, x.shape[0], self.c_dim)


def _architecture(cls: type) -> str:
    """stylegan2 of fastgan.models.stylegan2.generator; vocoders.hifigan of that file."""
    name = cls.__module__.removeprefix("fastgan.models.")
    return name.removesuffix(".generator").removesuffix(".discriminator")


def _unshared(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """safetensors refuses tensors that share memory: views of one flat buffer, say."""
    return {name: t.clone() for name, t in state.items()}


def _read_document(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ValueError(
            f"from_pretrained: {folder} is no local folder, and nothing is downloaded here; for a "
            "repository of a hub: from_pretrained(huggingface_hub.snapshot_download(name))"
        )
    try:
        document = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"from_pretrained: {folder}/config.json: {error}") from error
    if not isinstance(document, dict) or document.keys() != _KEYS:
        raise ValueError(f"from_pretrained: {folder}/config.json was not written by fastgan")
    if document["fastgan"] != FORMAT:
        raise ValueError(
            f"from_pretrained: {folder} has format {document['fastgan']}, this fastgan reads "
            f"{FORMAT}; load it with the fastgan that wrote it"
        )
    return document
