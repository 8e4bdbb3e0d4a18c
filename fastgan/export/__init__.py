# SPDX-License-Identifier: Apache-2.0
"""Generators for programs that have no fastgan: torch.export, ONNX, AOTInductor.

Every op of fastgan is lowered to plain torch operators first, so that the file needs nothing but
its own runtime.
"""

from fastgan.export.package import to_aoti_package
from fastgan.export.program import to_exported_program
from fastgan.export.to_onnx import to_onnx

__all__ = ["to_aoti_package", "to_exported_program", "to_onnx"]
