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
from fastgan.export.program import has_trunk, input_sizes
from fastgan.export.to_onnx import MOST_WEIGHTS

__all__ = ["network_files"]

_THREADS = 4  # at most; the page measures whether they are faster than one
_THREADS_FROM_MS = 100  # a picture that takes less is not worth a trial of more threads
_PREVIEW_FROM_MS = 200  # nor, of a network in two parts, a small image before the whole one
_WHOLE_SIDE = 128  # pixels; of smaller images the synthesis is not cut
_TRUNK_SIDES = (32, 128)  # pixels of a small image
_TRUNK_SHARE = 1 / 3  # of the multiplications, at most
_REACH = {"labels": 3.0, "sefa": 5.0}  # standard deviations, of a slider
_MOST_KEPT = 2 * 10**9  # bytes of ONNX files of all networks in the cache folder


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
        network with styles, or generator.onnx of another. In the place of synthesis.onnx there are
        trunk.onnx and rest.onnx where a smaller image can be had early. Noise is fixed ("const").

    Raises:
        ImportError: onnxscript is not installed (`fastgan[onnx]`).
        ValueError: the weights do not fit in an ONNX file.
        OSError: the cache folder can't be written.
    """
    trunk_blocks = _trunk_blocks(network)
    parts = ["mapping", "trunk", "rest"] if trunk_blocks else ["mapping", "synthesis"]
    if not network.has_styles:
        parts = ["generator"]
    _check_size(network)

    def make(folder: Path) -> None:
        for stem in parts:
            to_onnx(
                network.G,
                folder / f"{stem}.onnx",
                part="whole" if stem == "generator" else stem,
                trunk_blocks=trunk_blocks if stem in ("trunk", "rest") else 0,
            )

    folder = cache_dir() / "explore" / _key(network, trunk_blocks)
    files = kept_files(folder, make, most_bytes=_MOST_KEPT)
    sizes = {stem: files[f"{stem}.onnx"].stat().st_size for stem in parts}
    facts = describe(network, directions, options, sizes)
    if trunk_blocks:
        border = input_sizes(network.G, "rest", trunk_blocks)
        facts["border"] = {name: list(border[name]) for name in ("x", "image")}
    return {"network.json": json.dumps(facts).encode(), **files}


def _trunk_blocks(network: SteerableGenerator) -> int:
    """How many sizes make the small image; 0: the synthesis stays whole."""
    if not has_trunk(network.G) or max(network.image_shape[1:]) <= _WHOLE_SIDE:
        return 0
    config, costs, i = network.G.config, [], 0
    for size in config.sizes:
        o = config.channels(size)
        costs.append((i * o / 4 + o * o) * size[0] * size[1])  # of both convolutions, over k²
        i = o
    fitting = [
        count
        for count, size in enumerate(config.sizes, 1)
        if _TRUNK_SIDES[0] <= max(size) <= _TRUNK_SIDES[1]
        and sum(costs[:count]) <= _TRUNK_SHARE * sum(costs)
    ]
    return max(fitting, default=0)


def _key(network: SteerableGenerator, trunk_blocks: int) -> str:
    """32 hexadecimal digits, others where the ONNX files may be others."""
    G = network.G
    words = [type(G).__module__, repr(G.config), network.fingerprint, str(trunk_blocks)]
    digest = hashlib.sha256("\n".join([*words, fastgan.__version__, torch.__version__]).encode())
    package = Path(fastgan.__file__).parent  # a checkout changes without its version
    for folder in ("explore", "export", "models", "nn", "ops"):
        for path in sorted((package / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _check_size(network: SteerableGenerator) -> None:
    size = sum(t.numel() * t.element_size() for t in network.G.state_dict().values())
    if size > MOST_WEIGHTS:
        raise ValueError(
            f"explore: {network.name} has {size / 1e9:.1f} GB of weights, and the ONNX files "
            f"that a browser reads hold at most {MOST_WEIGHTS / 1e9:.1f} GB (1.5 GiB); fastgan "
            "generate, mix, edit and video draw its pictures without a browser"
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
