# SPDX-License-Identifier: Apache-2.0
"""Read a file of weights in a separate process, which returns tensors and plain values."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from fastgan._extras import require

SECONDS = 600


class WeightsError(ValueError):
    """A file was refused, or weights do not fit; the message says which and why."""


@dataclass(frozen=True)
class PickledModule:
    """A module of a network in a file.

    Args:
        class_name: name of its class, without the module that defines it.
        attributes: its public attributes: numbers, strings, None, and short lists and dicts of
            them. A dtype is its name. In the place of any other value stands its type, as
            "<OrderedDict>".
    """

    class_name: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class PickledNetwork:
    """A network in a file. In a dict of weights alone, it has nothing but those.

    Args:
        weights: {name: tensor}, the names as in its state_dict.
        class_name: name of its class, without the module that defines it.
        arguments: keyword arguments of its constructor.
        modules: {name of a module: the module}, the names as in `named_modules`; "" is the network
            itself.
    """

    weights: Mapping[str, Tensor]
    class_name: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    modules: Mapping[str, PickledModule] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadWeights:
    """The contents of a file of weights.

    Args:
        path: the file.
        sha256: its SHA-256 (hex).
        networks: {name of a network: the network}.
        values: other small tensors and plain values in the file.
        refused: {name of a network: why it could not be read}; the other networks were.
        metadata: what `export_weights` wrote about the networks in a safetensors file.
    """

    path: Path
    sha256: str
    networks: dict[str, PickledNetwork]
    values: dict[str, Any]
    refused: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


def read_weights(path: Path | str) -> ReadWeights:
    """Read a file of weights of another project, without running any code in it.

    A separate process, with limits of memory and time, reads the file with an unpickler that
    accepts only what weights consist of.

    Args:
        path: NVIDIA's `.pkl`; a file of torch.save: rosinality's `.pt`, BasicSR's `.pth`, or the
            `g_*` of HiFi-GAN and BigVGAN; or a `.safetensors` file of `export_weights`. Its first
            bytes decide, not its name.

    Returns:
        The networks and other values in the file.

    Raises:
        WeightsError: the file is refused; the message gives the reason.
        OSError: the file can't be read.
    """
    safetensors = require("safetensors.torch", "train")  # the process that reads needs it too
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise WeightsError(f"read_weights: {path} is a pipe or a device, and no file")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with tempfile.TemporaryDirectory(prefix="fastgan-weights-") as folder:
        line = [sys.executable, "-m", "fastgan.compat.weights.child", str(path.resolve()), folder]
        try:
            done = subprocess.run(
                line, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=folder,
                env=_environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise WeightsError(
                f"read_weights: {path} is refused, because reading it took more than {SECONDS} s"
            ) from error
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or [""])[-1]
            if done.returncode < 0 or not said:
                said = f"its reader ended ({done.returncode}) at its limit of time or memory"
            raise WeightsError(
                f"read_weights: {path} is refused: {said}. Accepted are weights in NVIDIA's and "
                "R3GAN's .pkl files, rosinality's .pt files, BasicSR's .pth files, HiFi-GAN's and "
                "BigVGAN's g_* files, and .safetensors files of `fastgan export`; no code in the "
                "file was run"
            )
        tensors = safetensors.load((Path(folder) / "tensors.safetensors").read_bytes())
        about = json.loads((Path(folder) / "about.json").read_text(encoding="utf-8"))
    weights: dict[str, dict[str, Tensor]] = {name: {} for name in about["networks"]}
    values: dict[str, Any] = about["values"]
    for name, tensor in tensors.items():
        network, _, key = name.partition("/")
        if network:
            weights[network][key] = tensor
        else:
            values[key] = tensor
    networks = {name: _network(of, weights[name]) for name, of in about["networks"].items()}
    metadata = about["metadata"] if isinstance(about["metadata"], dict) else {}
    return ReadWeights(path, digest, networks, values, about["refused"], metadata)


def _network(about: dict[str, Any], weights: dict[str, Tensor]) -> PickledNetwork:
    modules = {
        name: PickledModule(of["class"], of["attributes"]) for name, of in about["modules"].items()
    }
    ordered = {name: weights[name] for name in about["names"]}
    return PickledNetwork(ordered, about["class"], about["arguments"] or {}, modules)


def _environment() -> dict[str, str]:
    """Adds this package to PYTHONPATH, in case it is not installed; one thread, to limit memory."""
    paths = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
