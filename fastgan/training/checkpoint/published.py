# SPDX-License-Identifier: Apache-2.0
"""The folder of a published generator: what `fastgan.hub.push_to_hub` writes, and anybody may."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastgan.json_forms import parse, table
from fastgan.models import load_architecture
from fastgan.training.checkpoint.file import CheckpointError
from fastgan.training.checkpoint.other_kinds import NETWORK_FORM
from fastgan.training.config.json_dataclass import to_json
from fastgan.training.config.run import TrainConfig

__all__ = ["OPTIONS", "is_published", "load_published"]

OPTIONS = "training_options.json"
_MOST_BYTES = 2**22


def is_published(path: Path) -> bool:
    """Whether a folder holds a single network with the settings of the run that trained it."""
    return all((path / name).is_file() for name in ("config.json", "model.safetensors", OPTIONS))


def load_published(
    folder: Path, *, device: torch.device | str = "cpu"
) -> tuple[nn.Module, dict[str, Any]]:
    """The generator of such a folder, ready to sample from, and the settings of its run.

    Args:
        folder: config.json, model.safetensors and training_options.json.
        device: where to put it; default "cpu".

    Returns:
        What `load_generator` returns.

    Raises:
        CheckpointError: the settings are damaged, or of another network.
        ValueError: the network is damaged.
    """
    path = folder / OPTIONS
    try:
        network = parse((folder / "config.json").read_bytes(), NETWORK_FORM)
        architecture = network["architecture"]
        module = load_architecture(architecture)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint: {folder}/config.json is not one that save_pretrained wrote ({error})"
        ) from error
    G = module.Generator.from_pretrained(folder, device=device).requires_grad_(False)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes, at most {_MOST_BYTES:,}")
        values = parse(path.read_bytes(), table())
        if values["architecture"] != architecture:
            raise ValueError(f"they are of {values['architecture']}, the network of {architecture}")
        config = TrainConfig.from_dict(values | {"model": to_json(G.config)})
    except Exception as error:  # what a Config computes of a value of another type may raise any
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"checkpoint: {path} does not hold the settings of a run of fastgan: {reason}"
        ) from error
    return G, config.to_dict()
