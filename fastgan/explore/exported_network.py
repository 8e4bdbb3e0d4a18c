# SPDX-License-Identifier: Apache-2.0
"""What the page gets of a network: ONNX files, and the numbers around them as JSON."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastgan.control import Directions, SteerableGenerator
from fastgan.export import to_onnx

__all__ = ["network_files"]

_LARGE = 5_000_000  # parameters; threads make smaller networks slower (docs/explore.md)
_THREADS = 4
_REACH = {"labels": 3.0, "sefa": 5.0}  # standard deviations, of a slider


def network_files(
    network: SteerableGenerator,
    *,
    directions: Sequence[Directions] = (),
    options: Sequence[str] = (),
) -> dict[str, bytes]:
    """The files about a network that the page asks for.

    Args:
        network: on the CPU.
        directions: whose sliders the page shows, in this order.
        options: those that name the network on a command line, such as ("--network", "latest");
            without any, the page shows no commands.

    Returns:
        {name of the file: content}: network.json, and mapping.onnx and synthesis.onnx of a network
        with styles, or generator.onnx of another. Noise is fixed ("const").

    Raises:
        ImportError: onnxscript is not installed (`fastgan[onnx]`).
    """
    parts = {"mapping": "mapping", "synthesis": "synthesis"}
    if not network.has_styles:
        parts = {"generator": "whole"}
    files = {"network.json": json.dumps(describe(network, directions, options)).encode()}
    with tempfile.TemporaryDirectory() as folder:
        for stem, part in parts.items():
            path = Path(folder) / f"{stem}.onnx"
            to_onnx(network.G, path, part=part)
            files[path.name] = path.read_bytes()
    return files


def describe(
    network: SteerableGenerator, directions: Sequence[Directions], options: Sequence[str] = ()
) -> dict[str, Any]:
    """The numbers of a network that the page needs beside its ONNX files.

    Args:
        network: any.
        directions: of it.
        options: as of `network_files`.

    Returns:
        What JSON can hold; "styles" is None for a network without styles.
    """
    facts: dict[str, Any] = {
        "name": network.name,
        "options": list(options),
        "shape": list(network.image_shape),
        "z_dim": network.G.z_dim,
        "c_dim": network.c_dim,
        "threads": _THREADS if _parameters(network) >= _LARGE else 1,  # at most
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


def _parameters(network: SteerableGenerator) -> int:
    return sum(p.numel() for p in network.G.parameters())


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
