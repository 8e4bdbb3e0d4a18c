# SPDX-License-Identifier: Apache-2.0
"""Which backend is used: loads the native libraries once and remembers why one is not loaded."""

import contextlib
import importlib
import importlib.util
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from fastgan import environment

__all__ = ["NativeRequiredError", "backends", "library_facts", "use_backend"]

_log = logging.getLogger("fastgan")
_forced_reference: ContextVar[bool] = ContextVar("fastgan_forced_reference", default=False)
_traced_reference = False  # a plain bool: torch.compile guards on it, unlike on a ContextVar
_said: set[str] = set()
_ops: list[str] = []
NOT_WORTH_IT = "this op has no native kernel here; plain PyTorch is its implementation"


class NativeRequiredError(RuntimeError):
    """An op has no native kernel here, and FASTGAN_REQUIRE_NATIVE=1 requires one."""


def _import_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load_cpu() -> tuple[ModuleType | None, str | None]:
    module, why = _find_cpu()
    if module is not None and environment.isa() != "auto":
        module.limit_isa(environment.isa())
    return module, why


def _find_cpu() -> tuple[ModuleType | None, str | None]:
    if environment.backend() == "reference":
        return None, "FASTGAN_BACKEND=reference is set; unset it"
    from fastgan import _build_cache

    why = "the kernels are not built; run `fastgan build`"
    installed = importlib.util.find_spec("fastgan._C")
    if installed is not None and _build_cache.is_cut_short(Path(installed.origin)):
        why = f"{installed.origin} is cut short; run `fastgan build --force`"
    elif installed is not None:
        try:
            return importlib.import_module("fastgan._C"), None
        except ImportError as error:
            why = f"the installed library does not load ({error}); run `fastgan build --force`"
    if fault := _build_cache.cache_fault("_C"):
        why = f"{fault}; then run `fastgan build`"
    cached = _build_cache.cached_library("_C")
    if cached is not None:
        try:
            return _import_file("fastgan._C", cached), None
        except ImportError as error:
            why = f"the built library does not load ({error}); run `fastgan build --force`"
    return None, why


def _load_cuda() -> tuple[Path | None, str | None]:
    if environment.backend() == "reference":
        return None, "FASTGAN_BACKEND=reference is set; unset it"
    if torch.version.cuda is None:
        return None, "this torch has no CUDA; install a CUDA build of torch"
    from fastgan import _build_cache

    why = "the CUDA kernels are not built; run `fastgan build --cuda`"
    if fault := _build_cache.cache_fault("_C_cuda"):
        why = f"{fault}; then run `fastgan build --cuda`"
    for path in (_build_cache.installed_library("_C_cuda"), _build_cache.cached_library("_C_cuda")):
        if path is None:
            continue
        try:
            torch.ops.load_library(str(path))
        except OSError as error:
            why = f"the CUDA library does not load ({error}); run `fastgan build --cuda --force`"
        else:
            return path, None
    return None, why


_cpu_module, _cpu_reason = _load_cpu()
_cuda_path, _cuda_reason = _load_cuda()


def native_module() -> ModuleType | None:
    """The `_C` extension (build facts, CPU features), or None."""
    return _cpu_module


def add_op(name: str) -> None:
    """Counts `fastgan::<name>` among the ops that `backends` lists."""
    _ops.append(name)


def defined_ops() -> tuple[str, ...]:
    """Names of all ops defined so far, in order of definition."""
    return tuple(_ops)


def has_kernel(op: str, device_type: str) -> bool:
    """Whether a native kernel of `fastgan::op` is registered for `cpu` or `cuda`."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"fastgan::{op}", device_type.upper())


def reason(device_type: str) -> str | None:
    """Why no native library is used on `device_type`, and what to do; None where one is."""
    if device_type == "cpu":
        return _cpu_reason
    if device_type == "cuda":
        return _cuda_reason
    return f"fastgan has no native kernels for {device_type} tensors; use cpu or cuda for them"


def note_slow_path(op: str, args: tuple[Any, ...]) -> None:
    """Say once per device that an op runs in plain PyTorch; raise if a kernel is required.

    Where the device's library is loaded, an op that is not in it has no kernel there by design,
    because a benchmark showed no gain: nothing is said.
    """
    tensor = next((a for a in args if isinstance(a, torch.Tensor)), None)
    if tensor is None:
        tensor = next((a[0] for a in args if isinstance(a, list) and a), None)
    device_type = "cpu" if tensor is None else tensor.device.type
    if reason(device_type) is None:
        return
    message = f"fastgan: {op} runs on plain PyTorch on {device_type}: {reason(device_type)}"
    if environment.require_native():
        raise NativeRequiredError(f"{message} (FASTGAN_REQUIRE_NATIVE=1 requires a native kernel)")
    if device_type not in _said and environment.backend() != "reference":
        _said.add(device_type)
        _log.warning("%s", message)


@contextlib.contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Within the block, the functions of `fastgan.ops` run as plain differentiable PyTorch, or not.

    Where a kernel is missing, an op falls back to its reference but keeps fastgan's derivative
    formulas. "reference" leaves the derivatives to PyTorch, too: it is what the ops are tested
    against, and it can be differentiated as often as PyTorch can. Under `torch.compile` a block
    around a compiled function does not count, one inside it does.

    The setting is the block's own: a thread that is started within it has the default, and enters a
    block of its own.

    Args:
        name: "reference", or "auto" to undo it in an inner block.

    Yields:
        Nothing.

    Raises:
        ValueError: name is neither of the two.

    Example:
        with fastgan.ops.use_backend("reference"):
            y = fastgan.ops.bias_act(x, b, act="lrelu")
    """
    if name not in ("reference", "auto"):
        raise ValueError(f"use_backend: name must be 'reference' or 'auto', got {name!r}")
    global _traced_reference
    if torch.compiler.is_compiling():  # a ContextVar would break the graph
        before, _traced_reference = _traced_reference, name == "reference"
        try:
            yield
        finally:
            _traced_reference = before
        return
    token = _forced_reference.set(name == "reference")
    try:
        yield
    finally:
        _forced_reference.reset(token)


@contextlib.contextmanager
def trace_reference() -> Iterator[None]:
    """Within the block functions under `torch.compile` see the ops as plain torch, not as ops.

    What a user of plain PyTorch compiles, for comparison. Process-wide; compile and call inside.
    """
    global _traced_reference
    before, _traced_reference = _traced_reference, True
    try:
        with use_backend("reference"):
            yield
    finally:
        _traced_reference = before


def reference_is_forced() -> bool:
    if torch.compiler.is_compiling():
        return _traced_reference
    return _forced_reference.get()


def backends() -> dict[str, dict[str, dict[str, str | None]]]:
    """Which backend each op uses on each device type, and why where it is not a native kernel.

    Returns:
        `{"bias_act": {"cpu": {"active": "cpu" or "reference", "why": None or str}, "cuda": ...}}`,
        one entry per op, private backward ops included. "reference" is the implementation in plain
        PyTorch.
    """
    table = {}
    for op in defined_ops():
        table[op] = {}
        for device_type in ("cpu", "cuda"):
            native = has_kernel(op, device_type)
            why = None if native else (reason(device_type) or NOT_WORTH_IT)
            table[op][device_type] = {"active": device_type if native else "reference", "why": why}
    return table


def library_facts() -> dict[str, str | None]:
    """Paths, instruction set and compiler of the loaded native libraries.

    Returns:
        `cpu_library`, `cuda_library`: paths; `cpu_isa`, `cpu_isa_supported`: the instruction set in
        use and all that this processor has; `compiler`; `cpu_reason`, `cuda_reason`: why a library
        is not loaded. None where a fact does not apply.
    """
    module = _cpu_module
    return {
        "cpu_library": None if module is None else str(module.__file__),
        "cpu_isa": None if module is None else module.active_isa(),
        "cpu_isa_supported": None if module is None else ", ".join(module.supported_isas()),
        "compiler": None if module is None else module.compiler(),
        "cuda_library": None if _cuda_path is None else str(_cuda_path),
        "cpu_reason": _cpu_reason,
        "cuda_reason": _cuda_reason,
    }
