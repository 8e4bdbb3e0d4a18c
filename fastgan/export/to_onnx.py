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


def to_onnx(
    G: nn.Module,
    path: Path | str,
    *,
    truncation_psi: float = 1.0,
    noise_mode: str = "const",
    part: str = "whole",
) -> None:
    """Write G as an ONNX file with standard operators only.

    The inputs are "z" [N, z_dim] and, of a conditional G, "c" [N, c_dim]; the output is "images"
    [N, C, H, W]; N is 1 to 4096. A half of G takes or gives "ws" [N, num_ws, w_dim] in their place.
    The file appears whole or not at all.

    Args:
        G: a generator of `fastgan.models`, in float32 or float64.
        path: the file to write, usually ending in .onnx; its folder is made.
        truncation_psi: fixed in the file.
        noise_mode: "const" or "none".
        part: "whole", "mapping" or "synthesis", as of `to_exported_program`.

    Raises:
        ImportError: onnxscript is not installed.
        ValueError: as `to_exported_program`.
        OSError: the file can't be written.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise ImportError("to_onnx: needs onnxscript: pip install 'fastgan[onnx]'")
    path = Path(path)
    program = to_exported_program(
        G, truncation_psi=truncation_psi, noise_mode=noise_mode, part=part
    )
    make_parents(path)
    with _quiet():
        model = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(input_sizes(G, part)),
            output_names=["ws" if part == "mapping" else "images"],
            verbose=False,
        )
    with open_atomic(path) as file:
        model.save(file.name)


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
