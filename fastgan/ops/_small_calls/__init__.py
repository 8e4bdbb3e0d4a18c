# SPDX-License-Identifier: Apache-2.0
"""Small calls on a CPU: below a size, plain torch operators take the place of an op's kernel.

Calling a kernel with a derivative formula takes some 20 microseconds more than calling two of
torch's own operators, whose derivatives are C++. A pass over 16,384 float32 elements, which a
kernel saves, takes 3 to 5. So an op on no more elements than `MOST_ELEMENTS` runs as plain torch,
differentiable to any order, with the op's own argument checks and memory format.

FASTGAN_SMALL_CALLS=0 (read once, when fastgan is imported) or `use_small_calls("0")` keeps every
call on the kernels. Without the CPU library, in 16 bits, under torch.compile, torch.jit.trace and
the transforms of torch.func nothing is changed by it either.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch

from fastgan import environment
from fastgan.ops._backend import _forced_reference, native_module

__all__ = ["use_small_calls"]

MOST_ELEMENTS = 1 << 14  # of x; measured with bias_act, forward and with gradients, on Intel

_OFF = -1
_by_default = _OFF if environment.small_calls() == "0" or native_module() is None else MOST_ELEMENTS
_limit: ContextVar[int] = ContextVar("fastgan_small_calls", default=_by_default)
_DTYPES = (torch.float32, torch.float64)
_is_compiling, _is_tracing = torch.compiler.is_compiling, torch._C._is_tracing
_is_transformed = torch._C._are_functorch_transforms_active
_most, _is_reference = _limit.get, _forced_reference.get


def is_small(x: torch.Tensor) -> bool:
    """Whether an op on `x`, its largest operand, runs as plain torch."""
    return not (
        _is_compiling()  # before the ContextVars, which would break the graph
        or _is_tracing()
        or x.numel() > _most()
        or x.dtype not in _DTYPES
        or not x.is_cpu
        or _is_transformed()
        or _is_reference()
    )


def small_calls_setting() -> str:
    """What is shown of it."""
    if _most() < 0:
        return "off: FASTGAN_SMALL_CALLS=0, use_small_calls('0') or no CPU library"
    return f"ops on at most {_most():,} elements run as plain PyTorch (FASTGAN_SMALL_CALLS)"


@contextlib.contextmanager
def use_small_calls(setting: str) -> Iterator[None]:
    """Within the block, whether ops on a few elements on a CPU run as plain PyTorch operators.

    Overrides FASTGAN_SMALL_CALLS. Does not reach into a function under `torch.compile`, where
    small calls are never used.

    Args:
        setting: "0" never; "auto" where they are measured to be faster and the CPU library is
            loaded.

    Yields:
        Nothing.

    Raises:
        ValueError: setting is neither of the two.

    Example:
        with fastgan.ops.use_small_calls("0"):
            y = fastgan.ops.bias_act(torch.randn(8, 64), act="lrelu")  # by the kernel
    """
    if setting not in environment.SMALL_CALLS:
        raise ValueError(f"use_small_calls: setting must be '0' or 'auto', got {setting!r}")
    is_on = setting == "auto" and native_module() is not None
    token = _limit.set(MOST_ELEMENTS if is_on else _OFF)
    try:
        yield
    finally:
        _limit.reset(token)
