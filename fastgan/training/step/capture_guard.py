# SPDX-License-Identifier: Apache-2.0
"""Raises `CaptureError`, which names the module, for code that a CUDA graph can't contain.

A graph replays kernels with the shapes and arguments that they had when it was captured. So a
phase may not read a value of the device on the host (`.item()`, `if tensor:`), make a shape that
depends on values (`nonzero`, boolean indices), or use a tensor of another device (a host copy, or
a number that would stay as it was). The guard sees torch's operators as they run, also in the
backward pass, and reports which module was running. It does not see Python numbers that change
from step to step, nor what happens inside a kernel: `make capture-lint` and the capture itself do.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils._pytree import tree_leaves

__all__ = ["CaptureError", "capture_guard", "operators_are_checked"]

_FREE = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class CaptureError(RuntimeError):
    """A phase can't be captured as a CUDA graph.

    The message names the phase, the module and the operator, and what to do.
    """


@contextlib.contextmanager
def capture_guard(
    phase: str, networks: Mapping[str, nn.Module], device: torch.device, *, is_strict: bool
) -> Iterator[None]:
    """A context in which errors become CaptureError with the name of the module that was running.

    Args:
        phase: its name, for the message.
        networks: name → module, whose submodules are named in the message.
        device: of the phase.
        is_strict: checks each operator before it runs; False translates errors only.

    Raises:
        CaptureError: for an operator that a graph can't contain (is_strict), or in place of a
            RuntimeError that the body raises (not is_strict).
    """
    trail = _ModuleTrail(networks)
    mode = _OperatorGuard(device) if is_strict else contextlib.nullcontext()
    with trail.recorded():
        try:
            with mode:
                yield
        except CaptureError as error:
            raise CaptureError(_message(phase, trail.innermost(), str(error))) from error
        except RuntimeError as error:
            if is_strict:
                raise
            reason = str(error).partition("\n")[0]
            raise CaptureError(_message(phase, trail.innermost(), reason)) from error


def operators_are_checked() -> bool:
    """Whether a strict `capture_guard` sees the operators that run now."""
    return isinstance(_get_current_dispatch_mode(), _OperatorGuard)


def _message(phase: str, where: str | None, reason: str) -> str:
    place = f"{where} " if where else "code outside any module, or a backward pass, "
    return (
        f"capture of {phase}: {place}can't be part of a CUDA graph: {reason}; keep values and "
        "shapes on the device, or set capture='off'"
    )


class _OperatorGuard(TorchDispatchMode):
    def __init__(self, device: torch.device):
        super().__init__()
        self._type = device.type

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if any(tag in func.tags for tag in _FREE):
            what = (
                "reads a value of the device on the host"
                if func is torch.ops.aten._local_scalar_dense.default
                else "makes a result whose shape depends on values"
            )
            raise CaptureError(f"{func} {what}")
        output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, output)):
            if isinstance(tensor, Tensor) and tensor.device.type != self._type:
                raise CaptureError(
                    f"{func} touches a tensor on {tensor.device} in a step on {self._type}"
                )
        return output


class _ModuleTrail:
    """The modules whose forward is running; one whose forward raised stays on the stack."""

    def __init__(self, networks: Mapping[str, nn.Module]):
        self._names = {
            id(module): f"{network}.{name} ({type(module).__name__})".replace(". ", " ")
            for network, root in networks.items()
            for name, module in root.named_modules()
        }
        self._running: list[nn.Module] = []

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        def enter(module: nn.Module, args: Any) -> None:
            self._running.append(module)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            while self._running and self._running.pop() is not module:
                pass

        handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def innermost(self) -> str | None:
        for module in reversed(self._running):
            if id(module) in self._names:
                return self._names[id(module)]
        return type(self._running[-1]).__name__ if self._running else None
