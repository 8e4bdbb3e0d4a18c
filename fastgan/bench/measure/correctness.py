# SPDX-License-Identifier: Apache-2.0
"""The check that every number must pass first: forward and both orders of gradient in float64."""

import torch

from fastgan.bench.op_case import Function, OpCase, Tensors, evaluate
from fastgan.ops import use_backend

# Largest error, in units of eps(output dtype) · max|reference| of that output. A benchmark only has
# to notice a wrong result; the op tests measure each element.
TOLERANCE = {torch.float64: 64.0, torch.float32: 64.0, torch.bfloat16: 4.0, torch.float16: 4.0}


def reference(case: OpCase) -> Function:
    """The op under `use_backend("reference")`: eager PyTorch, as a user without kernels runs it."""

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        with use_backend("reference"):
            return case.run(*inputs)

    return run


def expected(case: OpCase, mode: str, tensors: Tensors) -> dict[str, torch.Tensor | None]:
    """The float64 reference result of `mode`, from the values that the variants get."""
    return evaluate(mode, reference(case), tensors.double())


def check(got: dict[str, torch.Tensor | None], want: dict[str, torch.Tensor | None]) -> str | None:
    """Compares results with the exact ones.

    Args:
        got: name → output or gradient; None means zeros, which is right only where `want` is zero
            throughout.
        want: the same in float64.

    Returns:
        None if all are equal within TOLERANCE, else the name of one that is not, and by how much.
    """
    for name, exact in want.items():
        exact = torch.zeros(()) if exact is None else exact.detach()
        actual = got[name]
        if actual is None:
            if exact.any():
                return (
                    f"{name} is missing, expected a gradient up to {exact.abs().max().item():.3g}"
                )
            continue
        if exact.dim() and actual.shape != exact.shape:
            return f"{name} has shape {tuple(actual.shape)}, expected {tuple(exact.shape)}"
        error = (actual.detach().double() - exact).abs().max().item()
        scale = exact.abs().max().item()
        unit = torch.finfo(actual.dtype).eps * (scale or 1.0)
        if not error <= TOLERANCE[actual.dtype] * unit:  # NaN fails too
            return (
                f"{name} is off by {error / unit:.3g} eps·max|{name}| (max|{name}| = {scale:.3g})"
            )
    return None
