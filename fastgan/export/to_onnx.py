"""A generator as an ONNX file."""

import importlib.util
from pathlib import Path

import torch
from torch import nn

from fastgan.atomic import open_atomic
from fastgan.export.program import to_exported_program

OPSET = 18


def to_onnx(
    G: nn.Module, path: Path | str, *, truncation_psi: float = 1.0, noise_mode: str = "const"
) -> None:
    """Write G as `path`: inputs "z" (and "c"), output "images", any batch, standard operators only.

    Arguments as of `to_exported_program`. The file is written whole or not at all.

    Raises:
        ImportError: onnxscript is not installed. ValueError, OSError.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise ImportError("to_onnx: needs onnxscript: pip install 'fastgan[onnx]'")
    path = Path(path)
    program = to_exported_program(G, truncation_psi=truncation_psi, noise_mode=noise_mode)
    model = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        input_names=["z", "c"][: 2 if G.c_dim else 1],
        output_names=["images"],
        verbose=False,
    )
    with open_atomic(path) as file:
        model.save(file.name)
