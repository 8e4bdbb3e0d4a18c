# SPDX-License-Identifier: Apache-2.0
"""The table of fixes, and how they are installed and undone."""

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from fastgan.compat.changes import Changes


@dataclass(frozen=True)
class Fix:
    """One older API.

    Args:
        module: the module that is changed, or made.
        change: called with the module and `Changes`, after its import; None if it is made.
        make: returns the names of a module that exists no more; None if it is changed.
    """

    module: str
    change: Callable[[ModuleType, Changes], None] | None = None
    make: Callable[[], Mapping[str, Any]] | None = None


FIXES: dict[str, Fix] = {}


def changes(module: str) -> Callable:
    """Enter a function (module, Changes) in `FIXES`; it is called after the import of `module`."""

    def enter(function: Callable[[ModuleType, Changes], None]) -> Callable:
        FIXES[function.__name__.lstrip("_")] = Fix(module, change=function)
        return function

    return enter


def makes(module: str) -> Callable:
    """Enter a function in `FIXES` that returns the names of a module that exists no more."""

    def enter(function: Callable[[], Mapping[str, Any]]) -> Callable:
        FIXES[function.__name__.lstrip("_")] = Fix(module, make=function)
        return function

    return enter


class _Loader(importlib.abc.Loader):
    """Loads a module by its own loader, and then changes it."""

    def __init__(self, loader: Any, then: Callable[[ModuleType], None]) -> None:
        self.loader, self.then = loader, then

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__.loader = module.__loader__ = self.loader  # nobody else sees this class
        self.loader.exec_module(module)
        self.then(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Stands before all other finders, and wraps the loaders of the modules that are changed."""

    def __init__(self, names: set[str], then: Callable[[ModuleType], None]) -> None:
        self.names, self.then = names, then
        self.asking: set[str] = set()

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.names or fullname in self.asking:
            return None
        self.asking.add(fullname)
        try:
            finders = [f for f in sys.meta_path if f is not self and hasattr(f, "find_spec")]
            specs = (finder.find_spec(fullname, path, target) for finder in finders)
            spec = next((spec for spec in specs if spec is not None), None)
        finally:
            self.asking.discard(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self.then)
        return spec


class _Missing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands behind all other finders, and makes the modules that none of them has."""

    def __init__(self, made: Mapping[str, Callable[[], Mapping[str, Any]]]) -> None:
        self.made = made

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.made:
            return None
        is_package = any(name.startswith(f"{fullname}.") for name in self.made)
        return importlib.machinery.ModuleSpec(
            fullname, self, origin="fastgan.compat", is_package=is_package
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__doc__ = "Made by fastgan.compat; has only the names that are used most."
        module.__dict__.update(self.made[module.__name__]())


def install(done: Changes, fixes: Mapping[str, Fix]) -> None:
    """Install the fixes.

    Args:
        done: what undoes them.
        fixes: those of `FIXES` to install.
    """
    waiting: dict[str, list[Fix]] = {}
    for fix in fixes.values():
        if fix.change is not None:
            waiting.setdefault(fix.module, []).append(fix)

    def change(module: ModuleType) -> None:
        for fix in waiting[module.__name__]:
            fix.change(module, done)

    made = {fix.module: fix.make for fix in fixes.values() if fix.make is not None}
    for finder, place in ((_AfterImport(set(waiting), change), 0), (_Missing(made), None)):
        sys.meta_path.insert(len(sys.meta_path) if place is None else place, finder)
        done.callback(_remove, finder)
    for name in waiting:
        if name in sys.modules:
            change(sys.modules[name])


def _remove(finder: Any) -> None:
    """Remove a finder, and the modules that it made."""
    sys.meta_path.remove(finder)
    forget_modules(finder)


def forget_modules(loader: Any) -> None:
    """Remove the modules that `loader` made from `sys.modules` and from their packages.

    Args:
        loader: the loader.
    """
    for name, module in list(sys.modules.items()):
        if getattr(getattr(module, "__spec__", None), "loader", None) is not loader:
            continue
        del sys.modules[name]
        parent, _, child = name.rpartition(".")
        holder = vars(sys.modules[parent]) if parent in sys.modules else {}
        if holder.get(child) is module:
            del holder[child]
