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

from fastgan.ops import conv2d_choice, conv_transpose2d_choice
from fastgan.ops._convolutions.conv2d import Conv2dChoice

_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = (
    "input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation",
)  # fmt: skip
_PARAMETERS = {torch.conv2d: _CONV, torch.conv_transpose2d: _TRANSPOSED}
_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "output_padding": 0, "groups": 1}
_DEFAULTS |= {"dilation": 1}


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


def _both_sides(padding: Any, w: torch.Tensor) -> Any:
    """Padding in numbers; None where a word stands for unequal sides."""
    if padding == "valid":
        return 0
    if padding == "same":
        sides = [k - 1 for k in w.shape[2:]]
        return None if any(side % 2 for side in sides) else tuple(side // 2 for side in sides)
    return padding


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) else (value, value)


def _refused(given: Mapping[str, Any]) -> str | None:
    """Why `fastgan.ops` has no such convolution at all, or None."""
    if _pair(given["dilation"]) != (1, 1):
        return "dilated"
    if given["input"].dim() != 4:
        return "a map without a batch dimension"
    if _both_sides(given["padding"], given["weight"]) is None:
        return "padding='same' of an even kernel"
    return None


def _call_of(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]):
    given = _DEFAULTS | dict(zip(_PARAMETERS[function], args, strict=False)) | dict(kwargs)
    x, w, b = given["input"], given["weight"], given["bias"]
    is_transposed = function is torch.conv_transpose2d
    padding, groups = _both_sides(given["padding"], w), given["groups"]
    more = (given["output_padding"],) if is_transposed else ()
    why = _refused(given)
    if why is not None:
        choice = Conv2dChoice(False, why)
    else:
        choose = conv_transpose2d_choice if is_transposed else conv2d_choice
        choice = choose(x, w, b, _pair(given["stride"]), _pair(padding), *map(_pair, more), groups)
    return ConvCall(
        is_transposed,
        TensorFacts.of(x),
        TensorFacts.of(w),
        None if b is None else TensorFacts.of(b),
        _pair(given["stride"]),
        None if padding is None else _pair(padding),
        _pair(given["output_padding"]),
        groups,
        choice,
    )


class _Recorder(TorchFunctionMode):
    def __init__(self, calls: dict[nn.Module, list[ConvCall]]) -> None:
        super().__init__()
        self.calls = calls
        self.open: list[nn.Module] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _PARAMETERS and self.open:
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
