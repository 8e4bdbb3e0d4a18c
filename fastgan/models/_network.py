# SPDX-License-Identifier: Apache-2.0
"""What networks share: how G and D begin, are kept in a folder and read back.

`save_pretrained` and `from_pretrained` keep a network as a folder:

    FOLDER/config.json          {"fastgan": format, "architecture", "network", "config": {...}}
    FOLDER/model.safetensors    the state_dict

A folder may come from anybody. No file of it runs code, and a network is made only after one
without memory (on the device "meta") has shown that it is no larger than the weights in the file.
"""

import contextlib
import dataclasses
import importlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from fastgan._extras import Extra
from fastgan.atomic import write_atomic
from fastgan.hub_files import local_folder
from fastgan.json_forms import parse
from fastgan.models._checks import check_condition, check_latents, check_samples
from fastgan.names import refuse_names
from fastgan.nn import MappingNetwork
from fastgan.nn.mapping import check_truncation
from fastgan.nn.noise import check_noise_mode

safetensors = Extra("safetensors", "train")
safetensors_torch = Extra("safetensors.torch", "train")
FORMAT = 1
_KEYS = {"fastgan", "architecture", "network", "config"}
_MOST_JSON = 2**22  # bytes
_MOST_NUMBER = 2**20  # of a configuration: sizes, widths, counts


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
    def from_pretrained(
        cls,
        folder: Path | str,
        *,
        revision: str | None = None,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Read a network that `save_pretrained` wrote, or one that was pushed to the Hub.

        Args:
            folder: a local folder; or a str "user/name", a repository of the Hugging Face Hub,
                where there is no such folder (needs `fastgan[hub]`; huggingface_hub's cache is
                used). A pathlib.Path is never fetched.
            revision: branch, tag or commit of the repository; default None: its main branch.
            device: where the weights go.

        Returns:
            The network, in eval mode. Fields that its Config has got since then have their
            defaults.

        Raises:
            ValueError: for no such folder, another network or format, a value that the Config does
                not take, or a missing or unknown key of the configuration, or name or shape of a
                tensor, each named.
            HubError: the repository can't be read, or holds no network of fastgan
                (`fastgan.hub_files.HubError`, an OSError).
        """
        folder = local_folder("from_pretrained", folder, revision)
        document = _read_document(folder)
        architecture = _architecture(cls)
        found = document["architecture"], document["network"]
        if found != (architecture, cls.__name__):
            raise ValueError(
                f"from_pretrained: {folder} holds a {found[1]} of {found[0]}, and this is "
                f"{cls.__name__} of {architecture}; fastgan.models.load_architecture("
                f"{found[0]!r}).{found[1]} loads it"
            )
        try:
            state = safetensors_torch.load((folder / "model.safetensors").read_bytes())
        except (OSError, safetensors.SafetensorError) as error:
            raise ValueError(f"from_pretrained: {folder}/model.safetensors: {error}") from error
        kind: Any = importlib.import_module(f"fastgan.models.{architecture}").Config
        config = _make_config(kind, document["config"], folder)
        _check_shapes(cls, config, state, folder)
        network = cls(config)
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

    def _check_inputs(
        self,
        z: torch.Tensor,
        c: torch.Tensor | None,
        noise_mode: str,
        truncation_psi: float = 1.0,
    ) -> None:
        check_latents("Generator", z, self.z_dim)
        check_condition("Generator", c, z.shape[0], self.c_dim)
        check_noise_mode("Generator", noise_mode)
        check_truncation("Generator", truncation_psi)


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
        self._check_inputs(z, c, noise_mode, truncation_psi)
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


def _make_config(kind: Any, values: Any, folder: Path) -> Any:
    """The Config of values that may be anything; ValueError where they are none of a Config."""
    what = f"from_pretrained: configuration of {folder}"
    if not isinstance(values, dict):
        raise ValueError(f"{what} must be a JSON object, got {type(values).__name__}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    refuse_names(what, required - values.keys(), values.keys() - fields)
    check_numbers(what, values)
    try:
        return kind(**values)
    except Exception as error:  # what a Config computes of a value of another type may raise any
        raise ValueError(f"{what} is not one of {kind.__module__}: {_reason(error)}") from error


def check_numbers(what: str, values: dict[str, Any]) -> None:
    """ValueError, which begins with `what`, where a number would make a network that is too large.

    Args:
        what: what the values are.
        values: of a Config, JSON.
    """
    for name, value in values.items():
        for number in _numbers(value):
            if not abs(number) <= _MOST_NUMBER:  # NaN, too
                raise ValueError(f"{what}: {name} is {number}, at most {_MOST_NUMBER:,} is allowed")


def _numbers(value: Any) -> list[int | float]:
    """All numbers in a JSON value, however deep it is."""
    found, waiting = [], [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict | list):
            waiting += item.values() if isinstance(item, dict) else item
        elif isinstance(item, int | float):
            found.append(item)
    return found


def _check_shapes(cls: type, config: Any, state: dict[str, torch.Tensor], folder: Path) -> None:
    """ValueError where a network of `config` can't be made or does not have the shapes of `state`.

    It needs no memory: a configuration that asks for terabytes is refused.
    """
    what = f"from_pretrained: {folder}"
    try:
        with torch.device("meta"), at_most(2 * len(state) + 100):
            made = cls(config)
    except Exception as error:
        raise ValueError(
            f"{what}: no {cls.__name__} can be made of its configuration: {_reason(error)}"
        ) from error
    wanted = made.state_dict()
    for name in sorted(wanted.keys() & state.keys()):
        if wanted[name].shape != state[name].shape:
            raise ValueError(
                f"{what}: {name} in model.safetensors is {list(state[name].shape)}, and its "
                f"configuration needs {list(wanted[name].shape)}"
            )
    needed, held = (sum(t.numel() for t in tensors.values()) for tensors in (wanted, state))
    if needed > 2 * held + 2**20:
        raise ValueError(
            f"{what}: its configuration needs {needed:,} numbers, and model.safetensors holds "
            f"{held:,}"
        )


@contextlib.contextmanager
def at_most(most: int) -> Iterator[None]:
    """ValueError where more parameters than that are made in this thread: a million layers, say."""
    thread, count = threading.get_ident(), 0

    def counted(_module: nn.Module, _name: str, _parameter: nn.Parameter | None) -> None:
        nonlocal count
        if threading.get_ident() == thread:
            count += 1
            if count > most:
                raise ValueError(f"more than {most} parameters, which model.safetensors has not")

    handle = register_module_parameter_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_document(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        if path.stat().st_size > _MOST_JSON:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, at most {_MOST_JSON:,}")
        document = parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"from_pretrained: {path}: {error}") from error
    if not isinstance(document, dict) or document.keys() != _KEYS:
        raise ValueError(f"from_pretrained: {path} was not written by fastgan")
    if document["fastgan"] != FORMAT:
        raise ValueError(
            f"from_pretrained: {folder} has format {document['fastgan']}, this fastgan reads "
            f"{FORMAT}; load it with the fastgan that wrote it"
        )
    if not isinstance(document["architecture"], str) or not isinstance(document["network"], str):
        raise ValueError(f"from_pretrained: {path} does not name its network")
    return document
