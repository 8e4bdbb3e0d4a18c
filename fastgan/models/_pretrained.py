"""`save_pretrained` and `from_pretrained`: a network as a folder, without any network access.

    FOLDER/config.json          {"fastgan": format, "architecture", "network", "config": {...}}
    FOLDER/model.safetensors    the state_dict

The names are those of `huggingface_hub.PyTorchModelHubMixin`, which can upload such a folder.
"""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
from safetensors import SafetensorError

from fastgan.atomic import write_atomic
from fastgan.names import refuse_names

FORMAT = 1
_KEYS = {"fastgan", "architecture", "network", "config"}


class Pretrained:
    """Mixed into a Generator or Discriminator that keeps its ``config``."""

    def save_pretrained(self, folder: Path | str) -> None:
        """Write `folder` (made where it is missing): config.json last, each file whole or not."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        document = {
            "fastgan": FORMAT,
            "architecture": _architecture(type(self)),
            "network": type(self).__name__,
            "config": dataclasses.asdict(self.config),
        }
        state = {name: t.detach().cpu().contiguous() for name, t in self.state_dict().items()}
        write_atomic(folder / "model.safetensors", safetensors.torch.save(_unshared(state)))
        text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"
        write_atomic(folder / "config.json", text)

    @classmethod
    def from_pretrained(cls, folder: Path | str, *, device: torch.device | str = "cpu") -> Self:
        """The network that `save_pretrained` wrote to the local `folder`, in eval mode.

        ValueError: no such folder, another network or format, a missing or unknown key of the
        configuration or tensor, each named.
        """
        folder = Path(folder)
        document = _read_document(folder)
        found = document["architecture"], document["network"]
        if found != (_architecture(cls), cls.__name__):
            raise ValueError(
                f"from_pretrained: {folder} holds a {found[1]} of {found[0]}, and this is "
                f"{cls.__name__} of {_architecture(cls)}; fastgan.models.load_architecture("
                f"{found[0]!r}).{found[1]} loads it"
            )
        kind: Any = importlib.import_module(cls.__module__).Config
        wanted, got = {f.name for f in dataclasses.fields(kind)}, document["config"].keys()
        what = f"from_pretrained: configuration of {folder}"
        refuse_names(what, wanted - got, got - wanted)
        network = cls(kind(**document["config"]))
        try:
            state = safetensors.torch.load((folder / "model.safetensors").read_bytes())
        except (OSError, SafetensorError) as error:
            raise ValueError(f"from_pretrained: {folder}/model.safetensors: {error}") from error
        names = network.state_dict().keys()
        what = f"from_pretrained: weights of {folder}"
        refuse_names(what, names - state.keys(), state.keys() - names)
        network.load_state_dict(state, strict=True)
        return network.to(device).eval()


def _architecture(cls: type) -> str:
    return cls.__module__.removeprefix("fastgan.models.")


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
