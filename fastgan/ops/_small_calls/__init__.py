# SPDX-License-Identifier: Apache-2.0
"""Small calls on a CPU: below a size, plain torch operators take the place of an op's kernel.

Calling a kernel with a derivative formula takes some 20 microseconds more than calling two of
torch's own operators, whose derivatives are C++. A pass over 16,384 float32 elements, which a
kernel saves, takes 3 to 5. So an op on no more elements than stand below runs as plain torch,
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

# Elements of x, measured on Intel (AVX-512), 1 thread, against kernel and plain torch.
MOST_ELEMENTS = 1 << 14
# bias_act without a gain, with gradients: its two operators win up to 1 MB. With a gain, a third
# operator, the kernel wins much earlier, and without gradients it is called sooner.
MOST_IN_BIAS_ACT = {(True, True): 1 << 18, (True, False): 1 << 12, (False, True): 1 << 13}

_by_default = environment.small_calls() != "0" and native_module() is not None
_is_on: ContextVar[bool] = ContextVar("fastgan_small_calls", default=_by_default)
_DTYPES = (torch.float32, torch.float64)
_is_compiling, _is_tracing = torch.compiler.is_compiling, torch._C._is_tracing
_is_transformed = torch._C._are_functorch_transforms_active
_ask, _is_reference = _is_on.get, _forced_reference.get


def is_small(x: torch.Tensor, most: int = MOST_ELEMENTS) -> bool:
    """Whether an op on `x`, its largest operand, runs as plain torch."""
    return not (
        _is_compiling()  # before the ContextVars, which would break the graph
        or _is_tracing()
        or x.numel() > most
        or not _ask()
        or x.dtype not in _DTYPES
        or not x.is_cpu
        or _is_transformed()
        or _is_reference()
    )


def small_calls_setting() -> str:
    """What is shown of it."""
    if not _ask():
        return "off: FASTGAN_SMALL_CALLS=0, use_small_calls('0') or no CPU library"
    return f"ops on at most {MOST_ELEMENTS:,} elements run as plain PyTorch (FASTGAN_SMALL_CALLS)"


@contextlib.contextmanager
def use_small_calls(setting: str) -> Iterator[None]:
    """Within the block, whether ops on a few elements on a CPU run as plain PyTorch operators.

    Overrides FASTGAN_SMALL_CALLS. Does not reach into a function under `torch.compile`, where
    small calls are never used.

    The setting is the block's own: a thread that is started within it has the default, and enters a
    block of its own.

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
    token = _is_on.set(is_on)
    try:
        yield
    finally:
        _is_on.reset(token)
