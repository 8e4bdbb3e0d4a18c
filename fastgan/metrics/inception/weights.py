# SPDX-License-Identifier: Apache-2.0
"""Which file has Inception's weights. No package carries them, and fastgan downloads nothing."""

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from fastgan import environment

__all__ = ["Weights", "find_weights"]

SCRIPT = "inception-2015-12-05.pt"
SCRIPT_URL = (
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
    "inception-2015-12-05.pt"
)
FIDELITY = "weights-inception-2015-12-05-6726825d.pth"
FIDELITY_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FIDELITY}"
_FIDELITY_SHA256 = "6726825d"  # its first digits, as the file's name has them


@dataclass(frozen=True)
class Weights:
    """A file of weights that is there.

    Args:
        path: of the file.
        is_script: whether it is TorchScript, or the weights of torch-fidelity's network.
    """

    path: Path
    is_script: bool


def find_weights(file: str | Path | None = None) -> Weights:
    """The file of Inception's weights, found without loading any of them.

    Looked for are, in this order: `file`; `inception-2015-12-05.pt` in the cache folder; where the
    package torch-fidelity is installed, the weights that it keeps in torch's hub folder.

    Args:
        file: a TorchScript file in the form of NVIDIA's inception-2015-12-05.pt, or
            torch-fidelity's weights (.pth); None: look in the other places.

    Returns:
        The file.

    Raises:
        FileNotFoundError: there is none; the message names the files and where people get them.
        ImportError: `file` needs torch-fidelity, which is not installed or cannot be imported.
        ValueError: `file` is neither.
    """
    kept = environment.cache_dir() / SCRIPT
    hub = _hub_dir() / FIDELITY
    if file is not None:
        return _given(Path(file).expanduser())
    if kept.is_file():
        return Weights(kept, is_script=True)
    if hub.is_file():
        _require_fidelity()
        return Weights(hub, is_script=False)
    raise FileNotFoundError(
        f"the weights of Inception are not on this machine, and fastgan downloads none. Get "
        f"{SCRIPT} ({SCRIPT_URL}) and put it at {kept}, or name it with --inception FILE. Or: "
        f"pip install 'fastgan[fid]', and put {FIDELITY_URL} at {hub}"
    )


def _given(path: Path) -> Weights:
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}; the TorchScript form of Inception is {SCRIPT_URL}"
        )
    if path.suffix not in (".pt", ".pth"):
        raise ValueError(
            f"{path.name} is neither a TorchScript file (.pt, such as {SCRIPT}) nor "
            f"torch-fidelity's weights (.pth, such as {FIDELITY})"
        )
    if path.suffix == ".pth":
        _require_fidelity()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if not digest.startswith(_FIDELITY_SHA256):
            raise ValueError(
                f"{path} must have a SHA-256 that begins with {_FIDELITY_SHA256}, got {digest}; "
                f"get {FIDELITY_URL}"
            )
    return Weights(path, is_script=path.suffix == ".pt")


def _hub_dir() -> Path:
    """torch.hub's folder of weights, without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def _require_fidelity() -> None:
    for name in ("torch_fidelity", "torchvision"):
        if importlib.util.find_spec(name) is None:
            raise ImportError(
                f"the Python package {name} is not installed, which these weights need; "
                f"pip install 'fastgan[fid]', or use {SCRIPT} ({SCRIPT_URL}), which needs none"
            )
