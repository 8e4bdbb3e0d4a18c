"""A generator as an ONNX file."""

import importlib.util
from pathlib import Path

import torch
from torch import nn

from fastgan.atomic import make_parents, open_atomic
from fastgan.export.program import to_exported_program

OPSET = 18


def to_onnx(
    G: nn.Module, path: Path | str, *, truncation_psi: float = 1.0, noise_mode: str = "const"
) -> None:
    """Write G as an ONNX file with standard operators only.

    The inputs are "z" [N, z_dim] and, of a conditional G, "c" [N, c_dim]; the output is "images"
    [N, C, H, W]; N is 1 to 4096. The file appears whole or not at all.

    Args:
        G: a generator of `fastgan.models`, in float32 or float64.
        path: the file to write, usually ending in .onnx; its folder is made.
        truncation_psi: fixed in the file.
        noise_mode: "const" or "none".

    Raises:
        ImportError: onnxscript is not installed.
        ValueError: as `to_exported_program`.
        OSError: the file can't be written.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise ImportError("to_onnx: needs onnxscript: pip install 'fastgan[onnx]'")
    path = Path(path)
    make_parents(path)
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
