# SPDX-License-Identifier: Apache-2.0
"""The dtypes and numbers that the ops take, and the checks that most of them make.

A number that is what it should be costs a comparison or two: nothing else is looked at.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """What sums and products of x run in: float64 for float64, float32 for all else."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


_FLOATING = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def check_floating(op: str, name: str, t: torch.Tensor) -> None:
    """TypeError where `t` is of integers, bool, complex or 8-bit floating-point numbers."""
    if t.dtype not in _FLOATING:
        raise TypeError(
            f"{op}: {name} must be float64, float32, bfloat16 or float16, got {t.dtype}; cast it"
        )


def check_device(op: str, name: str, t: torch.Tensor, x: torch.Tensor, like: str = "x") -> None:
    """ValueError where `t` is not where `x`, which the op's user knows as `like`, is."""
    if t.device != x.device:
        raise ValueError(f"{op}: {name} must be on {x.device} like {like}, got {t.device}; move it")


def finite_number(op: str, name: str, value: Any) -> float:
    """`value` as a float.

    Raises:
        TypeError: it is no real number.
        ValueError: it is NaN or infinite, or a tensor that requires a gradient, which would be
            lost.
    """
    if type(value) is float and value - value == 0.0:
        return value
    number = _real_number(op, name, value)
    if not number - number == 0.0:
        raise ValueError(f"{op}: {name} must be a finite number, got {value!r}")
    return number


def clamp_bound(op: str, value: Any) -> float | None:
    """`value`, an op's argument `clamp`, as a float ≥ 0; None where it clamps nothing.

    Raises:
        TypeError: it is no real number.
        ValueError: it is NaN, or a tensor that requires a gradient.
    """
    if value is None or (type(value) is float and 0.0 <= value < math.inf):
        return value
    number = _real_number(op, "clamp", value)
    if number != number:  # NaN
        raise ValueError(f"{op}: clamp must be a number, or None to clamp nothing, got {value!r}")
    return number if 0.0 <= number < math.inf else None


def check_count(op: str, name: str, value: Any) -> None:
    """ValueError where `value` is no int ≥ 1."""
    is_int = isinstance(value, int | torch.SymInt) and not isinstance(value, bool)
    if not is_int or value < 1:
        raise ValueError(f"{op}: {name} must be an int ≥ 1, got {value!r}")


def _real_number(op: str, name: str, value: Any) -> float:
    if isinstance(value, torch.Tensor) and value.requires_grad:
        raise ValueError(
            f"{op}: {name} is a number and takes no gradient, got a tensor that requires one; "
            f"multiply the result by it instead, or pass {name}.item()"
        )
    is_number = not isinstance(value, bool | np.bool_ | complex | str | bytes)
    try:
        if is_number:
            return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # no number, or not one of them
        pass
    raise TypeError(f"{op}: {name} must be a real number, got {value!r}")


def plain_numbers(values: Sequence[Any]) -> tuple[Any, ...]:
    """NumPy's integers as int, and the sizes of torch.jit.trace, which are tensors there.

    A trace keeps the numbers that it saw.
    """
    is_traced = not torch.compiler.is_compiling() and torch._C._is_tracing()
    kinds = (np.integer, torch.Tensor) if is_traced else np.integer
    return tuple(int(v) if isinstance(v, kinds) else v for v in values)
