# SPDX-License-Identifier: Apache-2.0
"""The dtypes and numbers that the ops take, and two checks that most of them make."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """What sums and products of x run in: float64 for float64, float32 for all else."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def check_floating(op: str, name: str, t: torch.Tensor) -> None:
    """TypeError where `t` is of integers, bool or complex."""
    if not t.is_floating_point():
        raise TypeError(
            f"{op}: {name} must be float64, float32, bfloat16 or float16, got {t.dtype}; cast it"
        )


def check_device(op: str, name: str, t: torch.Tensor, x: torch.Tensor, like: str = "x") -> None:
    """ValueError where `t` is not where `x`, which the op's user knows as `like`, is."""
    if t.device != x.device:
        raise ValueError(f"{op}: {name} must be on {x.device} like {like}, got {t.device}; move it")


def plain_numbers(values: Sequence[Any]) -> tuple[Any, ...]:
    """NumPy's integers as int, and the sizes of torch.jit.trace, which are tensors there.

    A trace keeps the numbers that it saw.
    """
    is_traced = not torch.compiler.is_compiling() and torch._C._is_tracing()
    kinds = (np.integer, torch.Tensor) if is_traced else np.integer
    return tuple(int(v) if isinstance(v, kinds) else v for v in values)
