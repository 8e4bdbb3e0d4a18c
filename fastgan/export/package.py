"""A generator compiled ahead of time, for C++ or for Python without compiling."""

import tempfile
from pathlib import Path

import torch
from torch import nn

from fastgan.atomic import open_atomic
from fastgan.export.program import to_exported_program


def to_aoti_package(
    G: nn.Module, path: Path | str, *, truncation_psi: float = 1.0, noise_mode: str = "const"
) -> None:
    """Write G as the AOTInductor package `path`, which must end in .pt2, for G's device.

    `torch._inductor.aoti_load_package(path)(z)` runs it. Arguments as of `to_exported_program`.
    Takes minutes and a C++ compiler. The file is written whole or not at all.

    Raises:
        ValueError: another suffix. Whatever inductor raises where it can't compile.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"to_aoti_package: path must end in .pt2, got {path.name}")
    program = to_exported_program(G, truncation_psi=truncation_psi, noise_mode=noise_mode)
    with tempfile.TemporaryDirectory() as folder, open_atomic(path) as file:
        made = torch._inductor.aoti_compile_and_package(
            program, package_path=str(Path(folder) / path.name)
        )
        file.write(Path(made).read_bytes())
