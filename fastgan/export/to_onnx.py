# SPDX-License-Identifier: Apache-2.0
"""A generator as an ONNX file."""

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from fastgan.atomic import make_parents, open_atomic
from fastgan.export.program import input_sizes, to_exported_program

OPSET = 18
MOST_WEIGHTS = 1536 * 2**20  # bytes; torch.onnx writes those of a larger file beside it
_OUTPUTS = {"mapping": ["ws"], "trunk": ["x", "image"]}


def to_onnx(
    G: nn.Module,
    path: Path | str,
    *,
    truncation_psi: float = 1.0,
    noise_mode: str = "const",
    part: str = "whole",
    trunk_blocks: int = 0,
) -> None:
    """Write G as an ONNX file with standard operators only.

    The inputs are "z" [N, z_dim] and, of a conditional G, "c" [N, c_dim]; the output is "images"
    [N, C, H, W]; N is 1 to 4096. Parts of G take or give "ws" [N, num_ws, w_dim], "x" and
    "image" in their place.
    The file appears whole or not at all.

    Args:
        G: a generator of `fastgan.models`, in float32 or float64.
        path: the file to write, usually ending in .onnx; its folder is made.
        truncation_psi: fixed in the file.
        noise_mode: "const" or "none".
        part: "whole", "mapping", "synthesis", "trunk" or "rest", as of `to_exported_program`.
        trunk_blocks: as of `to_exported_program`.

    Raises:
        ImportError: onnxscript is not installed.
        ValueError: as `to_exported_program`; or there are more than 1.5 GiB of weights. torch.onnx
            writes those into a second file, and a file of the format ends at 2 GiB.
        OSError: the file can't be written.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise ImportError("to_onnx: needs onnxscript: pip install 'fastgan[onnx]'")
    path = Path(path)
    program = to_exported_program(
        G,
        truncation_psi=truncation_psi,
        noise_mode=noise_mode,
        part=part,
        trunk_blocks=trunk_blocks,
    )
    _check_weights(program)
    make_parents(path)
    with _quiet():
        model = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(input_sizes(G, part, trunk_blocks)),
            output_names=_OUTPUTS.get(part, ["images"]),
            verbose=False,
        )
    with open_atomic(path) as file:
        model.save(file.name)


def _check_weights(program: torch.export.ExportedProgram) -> None:
    used = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    held = {**program.constants, **program.state_dict}
    weights = [
        held[s.target]
        for s in program.graph_signature.input_specs
        if s.target in held and s.arg.name in used
    ]
    size = sum(t.numel() * t.element_size() for t in weights)
    if size > MOST_WEIGHTS:
        raise ValueError(
            f"to_onnx: there are {size / 1e9:.1f} GB of weights, and torch.onnx writes at most "
            f"{MOST_WEIGHTS / 1e9:.1f} GB (1.5 GiB) into one ONNX file; write a compiled package: "
            "to_aoti_package, or fastgan onnx with --out FILE.pt2"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says to torch's developers: that there is no torchvision, and
    that it calls a deprecated function of torch."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
            yield
    finally:
        logger.setLevel(before)
