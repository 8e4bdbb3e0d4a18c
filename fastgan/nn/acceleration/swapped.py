# SPDX-License-Identifier: Apache-2.0
"""The classes that a swapped layer gets, and how it gets its own class back.

A swap changes the class of a module and nothing else: the object, its parameters, buffers, hooks
and names stay. The new class is a subclass of the old one, with its name and module, so that
isinstance, `repr` and initialisers that go by the name of the class see what they saw before.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from fastgan.nn.acceleration.functions import Arguments, OurFunctions, are_plain
from fastgan.ops import conv_transpose2d

_ORIGINAL = "_fastgan_original_class"
_classes: dict[tuple[type, type], type] = {}


def same_padding(layer: nn.Conv2d) -> tuple[int, int] | None:
    """The zeros on every side that ``layer`` pads with, or None where both sides differ."""
    if layer.padding_mode != "zeros" or layer.padding == "valid":
        return 0, 0
    if layer.padding == "same":
        spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        return None if any(span % 2 for span in spans) else (spans[0] // 2, spans[1] // 2)
    return layer.padding


class Swapped:
    """Of a layer whose class `swap` changed."""

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        made, (cls, *rest), *state = super().__reduce_ex__(max(protocol, 2))
        kind, original = kind_of(cls), vars(cls).get(_ORIGINAL)
        if original is None:  # parametrised after the swap: torch copies it, and pickles none
            return made, (cls, *rest), *state
        return _new, (original, kind), *state

    def extra_repr(self) -> str:
        return ", ".join(part for part in (super().extra_repr(), "accelerated") if part)


class SwappedConv2d(Swapped):
    """torch.nn.Conv2d by `fastgan.ops.conv2d`, which chooses the algorithm at each call."""

    def _conv_forward(
        self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        padding = same_padding(self)
        is_ours = padding is not None and self.dilation == (1, 1) and input.dim() == 4
        if not is_ours or not are_plain(input, weight, bias):
            return super()._conv_forward(input, weight, bias)
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
        geometry = {"stride": self.stride, "padding": padding, "groups": self.groups}
        return Arguments(torch.conv2d, (input, weight, bias), geometry).run()


class SwappedConvTranspose2d(Swapped):
    """torch.nn.ConvTranspose2d by `fastgan.ops.conv_transpose2d`, which chooses at each call."""

    def forward(self, input: torch.Tensor, output_size: list[int] | None = None) -> torch.Tensor:
        weight, bias = self.weight, self.bias
        is_ours = output_size is None and self.dilation == (1, 1) and input.dim() == 4
        if not is_ours or not are_plain(input, weight, bias):
            return super().forward(input, output_size)
        return conv_transpose2d(
            input, weight, bias, self.stride, self.padding, self.output_padding, self.groups
        )


class SwappedForward(Swapped):
    """A layer whose own forward calls torch's convolutions: fastgan's are called instead.

    Under torch.compile they stay torch's.
    """


def _redirecting(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def redirected(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return forward(self, *args, **kwargs)
        with OurFunctions():
            return forward(self, *args, **kwargs)

    return redirected


def kind_of(cls: type) -> type | None:
    """The class of this file that ``cls`` derives from, or None."""
    kinds = (k for k in cls.__mro__ if Swapped in k.__bases__)
    return next(kinds, None)


def _new(original: type, kind: type) -> Any:
    """An empty object of the swapped class; what pickle and copy start from."""
    cls = _swapped_class(original, kind)
    return cls.__new__(cls)


def _swapped_class(original: type, kind: type) -> type:
    key = original, kind
    if key not in _classes:
        names = ("__module__", "__qualname__", "__doc__")
        namespace = {name: getattr(original, name) for name in names} | {_ORIGINAL: original}
        if kind is SwappedForward:
            namespace["forward"] = _redirecting(original.forward)
        _classes[key] = type(original.__name__, (kind, original), namespace)
    return _classes[key]


def _on_base(cls: type, base: type, **more: Any) -> type:
    """A class with what ``cls`` defines itself, on another base."""
    own = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
    return type(cls.__name__, (base,), own | more)


def swap(module: nn.Module, kind: type) -> None:
    """Gives ``module`` the swapped class of its own.

    torch's parametrisations give a module a class of its own, and expect the class that it had
    before as the only base. So there the base is swapped, and this class is made anew on it.

    Args:
        module: a layer that is not swapped.
        kind: a subclass of `Swapped` in this file.
    """
    cls = type(module)
    if is_parametrized(module):
        (base,) = cls.__bases__
        module.__class__ = _on_base(cls, _swapped_class(base, kind), **{_ORIGINAL: cls})
    else:
        module.__class__ = _swapped_class(cls, kind)


def unswap(module: nn.Module) -> bool:
    """Gives ``module`` the class back that it had before `swap`.

    Args:
        module: any module.

    Returns:
        Whether it was swapped.
    """
    cls = type(module)
    if not isinstance(module, Swapped):
        return False
    original = vars(cls).get(_ORIGINAL)
    if original is None:  # parametrised after the swap
        (base,) = cls.__bases__
        original = _on_base(cls, vars(base)[_ORIGINAL])
    module.__class__ = original
    return True
