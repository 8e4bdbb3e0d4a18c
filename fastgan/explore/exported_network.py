# SPDX-License-Identifier: Apache-2.0
"""What the page gets of a network: ONNX files, and the numbers around them as JSON.

The ONNX files are kept in the cache folder: the same network is exported once.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import fastgan
from fastgan.control import Directions, SteerableGenerator
from fastgan.environment import cache_dir
from fastgan.explore.kept_files import kept_files
from fastgan.export import to_onnx

__all__ = ["network_files"]

_THREADS = 4  # at most; the page measures whether they are faster than one
_THREADS_FROM_MS = 100  # a picture that takes less is not worth a trial of more threads
_PREVIEW_FROM_MS = 200  # nor, of a network in two parts, a small image before the whole one
_REACH = {"labels": 3.0, "sefa": 5.0}  # standard deviations, of a slider
_MOST_KEPT = 2 * 10**9  # bytes of ONNX files of all networks in the cache folder
_MOST_FILE = 2**31 - 2**20  # bytes of weights: protobuf, in which ONNX is written, ends at 2 GiB


def network_files(
    network: SteerableGenerator,
    *,
    directions: Sequence[Directions] = (),
    options: Sequence[str] = (),
) -> dict[str, bytes | Path]:
    """The files about a network that the page asks for.

    The ONNX files are in `<cache_dir>/explore/<hash>`, where cache_dir is
    `environment.cache_dir()` and the hash that of weights, configuration, fastgan and torch. What
    is there is used again. Of more than 2 GB those of the networks not explored for longest go.

    Args:
        network: on the CPU.
        directions: whose sliders the page shows, in this order.
        options: those that name the network on a command line, such as ("--network", "latest");
            without any, the page shows no commands.

    Returns:
        {name of the file: content or path}: network.json, and mapping.onnx and synthesis.onnx of a
        network with styles, or generator.onnx of another. Noise is fixed ("const").

    Raises:
        ImportError: onnxscript is not installed (`fastgan[onnx]`).
        ValueError: the weights do not fit in an ONNX file.
        OSError: the cache folder can't be written.
    """
    parts = {"mapping": "mapping", "synthesis": "synthesis"}
    if not network.has_styles:
        parts = {"generator": "whole"}
    _check_size(network)

    def make(folder: Path) -> None:
        for stem, part in parts.items():
            to_onnx(network.G, folder / f"{stem}.onnx", part=part)

    folder = cache_dir() / "explore" / _key(network, parts)
    files = kept_files(folder, make, most_bytes=_MOST_KEPT)
    sizes = {stem: files[f"{stem}.onnx"].stat().st_size for stem in parts}
    facts = describe(network, directions, options, sizes)
    return {"network.json": json.dumps(facts).encode(), **files}


def _key(network: SteerableGenerator, parts: Mapping[str, str]) -> str:
    """32 hexadecimal digits, others where the ONNX files may be others."""
    G = network.G
    words = [type(G).__module__, repr(G.config), network.fingerprint, repr(dict(parts))]
    digest = hashlib.sha256("\n".join([*words, fastgan.__version__, torch.__version__]).encode())
    package = Path(fastgan.__file__).parent  # a checkout changes without its version
    for folder in ("explore", "export", "models", "nn", "ops"):
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _check_size(network: SteerableGenerator) -> None:
    size = sum(t.numel() * t.element_size() for t in network.G.state_dict().values())
    if size > _MOST_FILE:
        raise ValueError(
            f"explore: {network.name} has {size / 1e9:.1f} GB of weights, and the ONNX "
            "files that a browser reads hold less than 2.1 GB (2 GiB); fastgan generate, mix, edit "
            "and video draw its pictures without a browser"
        )


def describe(
    network: SteerableGenerator,
    directions: Sequence[Directions],
    options: Sequence[str] = (),
    parts: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The numbers of a network that the page needs beside its ONNX files.

    Args:
        network: any.
        directions: of it.
        options: as of `network_files`.
        parts: {name of an ONNX file without .onnx: its bytes}, in the order of computing.

    Returns:
        What JSON can hold; "styles" is None for a network without styles.
    """
    facts: dict[str, Any] = {
        "name": network.name,
        "options": list(options),
        "shape": list(network.image_shape),
        "z_dim": network.G.z_dim,
        "c_dim": network.c_dim,
        "parts": dict(parts or {}),
        "threads": _THREADS,
        "threads_from_ms": _THREADS_FROM_MS,
        "preview_from_ms": _PREVIEW_FROM_MS,
        "styles": None,
    }
    if network.has_styles:
        mean = network.G.mapping.w_avg
        facts["styles"] = {
            "layers": network.num_ws,
            "width": network.w_dim,
            "mean": None if mean is None else mean.tolist(),
            "directions": [row for found in directions for row in _rows(found)],
        }
    return facts


def _rows(found: Directions) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "method": found.method,
            "layers": list(found.layers),
            "step": (found.scales[i] * found.vectors[i]).tolist(),  # of strength 1
            "reach": _REACH.get(found.method, 3.0),
        }
        for i, name in enumerate(found.names)
    ]
