"""Reads a file of weights in a process of its own; what comes back is tensors and plain values."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

SECONDS = 600


class WeightsError(ValueError):
    """A file that is refused, or weights that do not fit; the message says which and why."""


@dataclass(frozen=True)
class ReadWeights:
    """networks: tensors by name, of each network. arguments: what NVIDIA's files say that each
    was made with. values: what else lies beside them (small tensors and plain values)."""

    path: Path
    sha256: str
    networks: dict[str, dict[str, Tensor]]
    arguments: dict[str, dict[str, Any]]
    values: dict[str, Any]


def read_weights(path: Path | str) -> ReadWeights:
    """NVIDIA's `.pkl`, or a file of torch.save: rosinality's `.pt`, HiFi-GAN's and BigVGAN's `g_*`.

    Nothing in the file is run: a process of its own reads it with an unpickler that knows what
    weights are made of and refuses all else, within limits of memory and time.

    Raises:
        WeightsError: the file is refused, with the reason.
        OSError: it can't be read.
    """
    path = Path(path)
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
                f"read_weights: {path} was not read in {SECONDS} s and is refused"
            ) from error
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or [""])[-1]
            if done.returncode < 0 or not said:
                said = f"its reader was stopped ({done.returncode}) at a limit of time or memory"
            raise WeightsError(
                f"read_weights: {path} is not taken: {said}. Weights of NVIDIA's .pkl files, of "
                "rosinality's .pt and of HiFi-GAN's and BigVGAN's g_* are; nothing in the file was "
                "run"
            )
        tensors = safetensors.torch.load((Path(folder) / "tensors.safetensors").read_bytes())
        about = json.loads((Path(folder) / "about.json").read_text(encoding="utf-8"))
    networks: dict[str, dict[str, Tensor]] = {name: {} for name in about["networks"]}
    values: dict[str, Any] = about["values"]
    for name, tensor in tensors.items():
        network, _, key = name.partition("/")
        if network:
            networks[network][key] = tensor
        else:
            values[key] = tensor
    arguments = {name: of["arguments"] or {} for name, of in about["networks"].items()}
    return ReadWeights(path, digest, networks, arguments, values)


def _environment() -> dict[str, str]:
    """PYTHONPATH with the place of this package, for an environment where it is not installed; one
    thread, whose memory counts."""
    paths = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
