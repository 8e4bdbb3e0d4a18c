# SPDX-License-Identifier: Apache-2.0
"""PyTorch."""

import collections.abc
import functools
import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch

from fastgan.compat.changes import Changes
from fastgan.compat.legacy_apis.fixes import changes, makes
from fastgan.compat.legacy_apis.jit_operations import callable_operations

changes("torch._C")(callable_operations)


@changes("torch.optim")
def _adam_betas(optim: ModuleType, done: Changes) -> None:
    """`Adam(betas=[0, 0.99])`: torch 2.13 refuses an int beside a float."""
    original = optim.Adam.__init__

    def __init__(self: Any, params: Any, *args: Any, **options: Any) -> None:
        if "betas" in options:
            options["betas"] = _floats(options["betas"])
        elif len(args) > 1:
            args = (args[0], _floats(args[1]), *args[2:])
        original(self, params, *args, **options)

    done.set(optim.Adam, "__init__", __init__)


def _floats(betas: Any) -> Any:
    return tuple(float(b) if isinstance(b, int) else b for b in betas)


@changes("torch.utils.data")
def _sampler_argument(data: ModuleType, done: Changes) -> None:
    """`Sampler.__init__(data_source)`, whose argument torch removed."""

    def __init__(self: Any, data_source: Any = None) -> None:
        pass

    done.set_missing(data.Sampler, "__init__", __init__)


@changes("torch.utils.data.dataloader")
def _loader_next(dataloader: ModuleType, done: Changes) -> None:
    """`iter(loader).next()`, which torch removed in favour of `next(...)`."""
    base = dataloader._BaseDataLoaderIter
    done.set_missing(base, "next", lambda self: next(self))


@changes("torch.utils.data")
def _prefetch_without_workers(data: ModuleType, done: Changes) -> None:
    """`DataLoader(num_workers=0, prefetch_factor=2)`: 2 was the default, and is refused now."""
    original = data.DataLoader.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **options: Any) -> None:
        is_alone = len(args) < 6 and options.get("num_workers", 0) == 0
        if is_alone and options.get("prefetch_factor") == 2:
            options["prefetch_factor"] = None
        original(self, *args, **options)

    done.set(data.DataLoader, "__init__", __init__)


@changes("torch.functional")
def _stft_of_real_signals(functional: ModuleType, done: Changes) -> None:
    """`torch.stft(x, ...)` without `return_complex`: real and imaginary parts, as once."""
    original = functional.stft

    def stft(input: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        window = options.get("window", args[3] if len(args) > 3 else None)
        is_complex = input.is_complex() or (window is not None and window.is_complex())
        if is_complex or len(args) > 8 or options.get("return_complex") is not None:
            return original(input, *args, **options)
        return torch.view_as_real(original(input, *args, **options | {"return_complex": True}))

    stft.__prepare_scriptable__ = lambda: original  # TorchScript compiles torch's own
    done.set(functional, "stft", stft)
    done.set(torch, "stft", stft)
    done.set(torch.Tensor, "stft", stft)


@changes("torch")
def _istft_of_pairs(module: ModuleType, done: Changes) -> None:
    """`torch.istft` of a real tensor whose last dimension is (real, imaginary)."""
    original = module.istft

    def istft(input: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        if not input.is_complex() and input.shape[-1:] == (2,):
            input = torch.view_as_complex(input.contiguous())
        return original(input, *args, **options)

    builtins = torch.jit._builtins  # TorchScript knows a builtin by its object
    builtins._register_builtin(istft, "aten::istft")
    done.callback(builtins._get_builtin_table().pop, id(istft), None)
    done.set(module, "istft", istft)


@makes("torch._six")
def _torch_six() -> Mapping[str, Any]:
    """`torch._six`, which torch 2.0 removed."""
    return {
        "string_classes": (str, bytes),
        "int_classes": int,
        "container_abcs": collections.abc,
        "inf": math.inf,
        "nan": math.nan,
    }
