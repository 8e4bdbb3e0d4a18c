# SPDX-License-Identifier: Apache-2.0
"""A generator compiled ahead of time, to run from C++ or from Python."""

import tempfile
from pathlib import Path

import torch
from torch import nn

from fastgan.atomic import make_parents, open_atomic
from fastgan.export.program import to_exported_program


def to_aoti_package(
    G: nn.Module, path: Path | str, *, truncation_psi: float = 1.0, noise_mode: str = "const"
) -> None:
    """Write G as an AOTInductor package for G's device.

    `torch._inductor.aoti_load_package(path)(z)` runs it. Writing it takes minutes and needs a C++
    compiler. The file appears whole or not at all.

    Args:
        G: a generator of `fastgan.models`, in float32 or float64.
        path: the file to write; it must end in .pt2.
        truncation_psi: fixed in the file.
        noise_mode: "const" or "none".

    Raises:
        ValueError: another suffix, or as `to_exported_program`. Errors of torch's compiler pass
            through.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"to_aoti_package: path must end in .pt2, got {path.name}")
    make_parents(path)
    program = to_exported_program(G, truncation_psi=truncation_psi, noise_mode=noise_mode)
    with tempfile.TemporaryDirectory() as folder, open_atomic(path) as file:
        made = torch._inductor.aoti_compile_and_package(
            program, package_path=str(Path(folder) / path.name)
        )
        file.write(Path(made).read_bytes())
