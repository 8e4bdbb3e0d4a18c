# SPDX-License-Identifier: Apache-2.0
"""Runs a model on an example and records which convolutions it calls, in which module, on what."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

from fastgan.nn.acceleration.functions import PARAMETERS, Arguments
from fastgan.ops._convolutions.conv2d import Conv2dChoice


@dataclass(frozen=True)
class TensorFacts:
    """What a tensor of the same kind is made from."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, t: torch.Tensor) -> "TensorFacts":
        is_expanded = any(s == 0 and n > 1 for s, n in zip(t.stride(), t.shape, strict=True))
        strides = t.contiguous().stride() if is_expanded else t.stride()
        return cls(tuple(t.shape), strides, t.dtype, t.device)

    def drawn(self) -> torch.Tensor:
        """Standard normal numbers in a tensor like it."""
        t = torch.empty_strided(self.shape, self.strides, dtype=self.dtype, device=self.device)
        return t.normal_()


@dataclass(frozen=True)
class ConvCall:
    """One call of torch's conv2d or conv_transpose2d, and what fastgan's would do."""

    is_transposed: bool
    x: TensorFacts
    w: TensorFacts
    b: TensorFacts | None
    stride: Any
    padding: Any
    output_padding: Any
    groups: int
    choice: Conv2dChoice
    shared_filter: tuple[tuple[float, ...], ...] | None = None  # of all channels


def _call_of(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]):
    given = Arguments(function, args, dict(kwargs))
    choice = given.choice()
    f = given.shared_filter() if choice.algorithm == "upfirdn2d" else None
    return ConvCall(
        given.is_transposed,
        TensorFacts.of(given.x),
        TensorFacts.of(given.w),
        None if given.b is None else TensorFacts.of(given.b),
        given.stride,
        given.padding,
        given.output_padding,
        given.groups,
        choice,
        None if f is None else tuple(map(tuple, f.tolist())),
    )


class _Recorder(TorchFunctionMode):
    def __init__(self, calls: dict[nn.Module, list[ConvCall]]) -> None:
        super().__init__()
        self.calls = calls
        self.open: list[nn.Module] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in PARAMETERS and self.open:
            self.calls.setdefault(self.open[-1], []).append(_call_of(func, args, kwargs))
        return func(*args, **kwargs)


@contextmanager
def _eager(model: nn.Module) -> Iterator[None]:
    """Within the block no part of it runs as compiled by `Module.compile`."""
    compiled = {m: m._compiled_call_impl for m in model.modules() if m._compiled_call_impl}
    for module in compiled:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in compiled.items():
            module._compiled_call_impl = call


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """After the block buffers and torch's random numbers are what they were before.

    So running statistics and the vectors of a spectral norm do not move, and a dropout draws the
    same in one block as in the next.

    Args:
        model: that is called within.

    Yields:
        Nothing.
    """
    buffers = [
        (module, name, b, b.detach().clone())
        for module in model.modules()
        for name, b in module._buffers.items()
        if b is not None
    ]
    tensors = [*model.parameters(), *(b for _, _, b, _ in buffers)]
    devices = sorted({t.get_device() for t in tensors if t.is_cuda})
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(_eager(model))
        try:
            yield
        finally:
            with torch.no_grad():
                for module, name, buffer, value in buffers:
                    buffer.copy_(value)
                    module._buffers[name] = buffer


def record(
    model: nn.Module, run: Callable[[], Any]
) -> tuple[dict[nn.Module, list[ConvCall]], set[nn.Module]]:
    """Which module calls which convolutions.

    Args:
        model: whose modules are looked at.
        run: calls it.

    Returns:
        Module → its own calls, without those of modules inside it; and all modules that were
        called.
    """
    calls: dict[nn.Module, list[ConvCall]] = {}
    own, called = set(model.modules()), set()
    recorder = _Recorder(calls)

    def enter(module: nn.Module, args: Any) -> None:
        if module in own:
            called.add(module)
            recorder.open.append(module)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if module in own and recorder.open and recorder.open[-1] is module:
            recorder.open.pop()

    with ExitStack() as stack:
        for handle in (
            register_module_forward_pre_hook(enter),
            register_module_forward_hook(leave, always_call=True),
        ):
            stack.callback(handle.remove)
        stack.enter_context(recorder)
        stack.enter_context(torch.no_grad())
        run()
    return calls, called
