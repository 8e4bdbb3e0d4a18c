# SPDX-License-Identifier: Apache-2.0
"""`fastgan.load`: the networks of a run, imported weights or a vocoder, and their settings."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fastgan.hub_files import local_folder
from fastgan.json_forms import parse
from fastgan.models import load_architecture
from fastgan.models.vocoders import load_vocoder
from fastgan.training.checkpoint import file
from fastgan.training.checkpoint.checkpoint import (
    check_device,
    checkpoint_of,
    config_of,
    filled,
)
from fastgan.training.checkpoint.file import CheckpointError
from fastgan.training.checkpoint.other_kinds import NETWORK_FORM, has_no_discriminator
from fastgan.training.config.run import TrainConfig

__all__ = ["LoadedNetworks", "load"]


@dataclass(frozen=True, kw_only=True)
class LoadedNetworks:
    """What `fastgan.load` found.

    Attributes:
        path: the checkpoint, or the folder of a single network.
        architecture: name of it in `fastgan.models`, such as "stylegan2" or "vocoders.hifigan".
        G: the generator as trained; None in the folder of a single discriminator.
        G_ema: its moving average, which makes the better samples; None in the folder of a single
            network.
        D: the discriminator; None in the folder of a single generator, and where imported weights
            had none.
        config: of the run; None in the folder of a single network, which has a `config` itself.
        kimg: thousands of images shown in training, 0 for imported weights; None in the folder of a
            single network.
    """

    path: Path
    architecture: str
    G: nn.Module | None = None
    G_ema: nn.Module | None = None
    D: nn.Module | None = None
    config: TrainConfig | None = None
    kimg: float | None = None


def load(
    path: Path | str, *, revision: str | None = None, device: torch.device | str = "cpu"
) -> LoadedNetworks:
    """The networks of a run, with the configuration that trained them.

    It also loads a folder that `fastgan import` wrote, of images or of a vocoder, one that
    `save_pretrained` wrote, and a repository of the Hugging Face Hub. No file can run code.

    Args:
        path: the folder of a run, of which the newest intact checkpoint is used; a checkpoint
            (.safetensors or .json); the folder of a single network; or "hf://user/name", a
            repository of the Hub (needs `fastgan[hub]`). Nothing else is fetched.
        revision: branch, tag or commit of the repository; default None: its main branch.
        device: where the networks are put; default "cpu".

    Returns:
        The networks, in eval mode, with parameters that need no gradient (`requires_grad_()` makes
        them trainable), and what is known of their training.

    Raises:
        CheckpointError: there is no such folder, no intact checkpoint in it, or it is damaged; a
            file of another project is named as such.
        ValueError: the folder of a single network is damaged, torch can't use the device, or a
            revision is given for something local.
        HubError: the repository can't be read, or holds no network of fastgan.
        TypeError: the path is neither a str nor a pathlib.Path.

    Example:
        run = fastgan.load("runs/00000-faces")
        images = run.G_ema(torch.randn(16, run.G_ema.z_dim))  # [16, C, H, W] in about [-1, 1]
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"fastgan.load: path must be a str or a pathlib.Path, got {path!r}; expected the "
            "folder of a run, or a checkpoint (.safetensors)"
        )
    check_device("fastgan.load", device)
    if isinstance(path, str) and path.startswith("hf://"):
        path = local_folder("fastgan.load", path, revision, with_checkpoint=True)
    elif revision is not None:
        raise ValueError(
            f"fastgan.load: revision={revision!r} is for a repository of the Hub, 'hf://user/name';"
            f" {path} is local; leave it out"
        )
    path = Path(path)
    if not path.exists() and not path.with_suffix(".json").exists():
        raise CheckpointError(
            f"fastgan.load: there is nothing at {path}; expected the folder of a run, a checkpoint "
            "(.safetensors), a folder that `fastgan import` or save_pretrained wrote, or "
            "'hf://user/name', a repository of the Hugging Face Hub"
        )
    if (path / "config.json").is_file() and not (path / "checkpoints").is_dir():
        return _single(path, device)
    path = checkpoint_of(path)
    document = file.read_document(path)
    saved = file.read_tensors(path, document)
    config = config_of(path, document["config"])
    architecture = load_architecture(config.architecture)
    networks = {
        name: filled(kind, config.model, name, path, saved, device)
        for name, kind in (
            ("G", architecture.Generator),
            ("G_ema", architecture.Generator),
            ("D", architecture.Discriminator),
        )
        if name != "D" or not has_no_discriminator(path)
    }
    return LoadedNetworks(
        path=path,
        architecture=config.architecture,
        config=config,
        kimg=document["counters"]["nimg"] / 1000,
        **networks,
    )


def _single(folder: Path, device: torch.device | str) -> LoadedNetworks:
    """The network of a folder of `save_pretrained`."""
    try:
        document = parse((folder / "config.json").read_bytes(), NETWORK_FORM)
        architecture, network = document["architecture"], document["network"]
        kind, _, name = architecture.rpartition(".")
        module = load_vocoder(name) if kind == "vocoders" else load_architecture(architecture)
        field = {"Generator": "G", "Discriminator": "D"}[network]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"fastgan.load: {folder}/config.json is not one that save_pretrained wrote ({error}); "
            "expected the folder of a run, or of one of fastgan's networks"
        ) from error
    made = getattr(module, network).from_pretrained(folder, device=device).requires_grad_(False)
    return LoadedNetworks(path=folder, architecture=architecture, **{field: made})
