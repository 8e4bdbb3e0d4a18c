"""Older APIs of Python packages that training code uses and that newer versions have removed.

A fix is called once, does nothing if the API still exists, and returns a function that undoes it.
"""

import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any

import torch

from fastgan.compat.jit_operations import jit_get_operation

Undo = Callable[[], None]


def _nothing() -> None:
    pass


def _put(module: ModuleType) -> Undo:
    sys.modules[module.__name__] = module

    def undo() -> None:
        if sys.modules.get(module.__name__) is module:
            del sys.modules[module.__name__]

    return undo


def _version(text: str) -> Any:
    """Comparable: packaging's Version, else the numbers that it starts with."""
    try:
        from packaging.version import Version
    except ImportError:
        return tuple(int(n) for n in re.findall(r"\d+", text.split("+")[0]))
    return Version(text)


def pkg_resources() -> Undo:
    """`pkg_resources`, which setuptools removed; with `parse_version` only."""
    if "pkg_resources" in sys.modules or importlib.util.find_spec("pkg_resources") is not None:
        return _nothing
    module = ModuleType("pkg_resources", "Made by fastgan.compat; has parse_version only.")
    module.parse_version = _version
    return _put(module)


def adam_betas() -> Undo:
    """`betas=[0, 0.99]`: torch 2.13 refuses an int beside a float."""
    original = torch.optim.Adam.__init__

    def __init__(self: Any, params: Any, *args: Any, **options: Any) -> None:
        if "betas" in options:
            options["betas"] = _floats(options["betas"])
        elif len(args) > 1:
            args = (args[0], _floats(args[1]), *args[2:])
        original(self, params, *args, **options)

    torch.optim.Adam.__init__ = __init__

    def undo() -> None:
        torch.optim.Adam.__init__ = original

    return undo


def _floats(betas: Any) -> Any:
    return tuple(float(b) if isinstance(b, int) else b for b in betas)


def sampler() -> Undo:
    """`torch.utils.data.Sampler.__init__(data_source)`, whose argument torch removed."""
    base = torch.utils.data.Sampler
    if "__init__" in vars(base):
        return _nothing

    def __init__(self: Any, data_source: Any = None) -> None:
        pass

    base.__init__ = __init__

    def undo() -> None:
        del base.__init__

    return undo


def functional_tensor() -> Undo:
    """`torchvision.transforms.functional_tensor`, whose functions moved to `functional`."""
    name = "torchvision.transforms.functional_tensor"
    if (
        importlib.util.find_spec("torchvision") is None
        or importlib.util.find_spec(name) is not None
    ):
        return _nothing
    functional = importlib.import_module("torchvision.transforms.functional")
    module = ModuleType(name, "Made by fastgan.compat; has the names of `functional`.")
    module.__dict__.update({k: v for k, v in vars(functional).items() if not k.startswith("__")})
    return _put(module)


FIXES: Mapping[str, Callable[[], Undo]] = MappingProxyType(
    {
        f.__name__: f
        for f in (pkg_resources, adam_betas, sampler, functional_tensor, jit_get_operation)
    }
)
