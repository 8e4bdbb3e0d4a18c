"""`patch`: fastgan's ops in the places where a project's own code imports its ops.

A module that is not imported yet is made by an import finder before all others. In a module that
is already imported the functions are replaced, and so are the references that other modules got by
`from ... import`. `Patch.undo` restores everything.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, Self

from fastgan.compat.families import FAMILIES, Family
from fastgan.compat.legacy_apis import FIXES

_log = logging.getLogger("fastgan")
Undo = Callable[[], None]
Exports = Mapping[str, Any]


def _exports(target: str, names: tuple[str, ...]) -> Exports:
    """The contents of a replaced module: `names` of ours, or all names that fastgan defines."""
    ours = vars(importlib.import_module(target))
    if names:
        return {name: ours[name] for name in names}
    return {
        name: value
        for name, value in ours.items()
        if not name.startswith("__")
        and not isinstance(value, ModuleType)
        and getattr(value, "__module__", target).startswith("fastgan.")
    }


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes the modules of `table`, and the packages of `absent` if nothing else makes them."""

    def __init__(self, table: Mapping[str, Exports], absent: Mapping[str, Exports]) -> None:
        self.table = table
        self.absent = absent
        self._is_asking = False

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in self.table:
            return importlib.machinery.ModuleSpec(fullname, self, origin="fastgan.compat")
        if fullname in self.absent and not self._is_asking and not self._exists(fullname):
            return importlib.machinery.ModuleSpec(
                fullname, self, origin="fastgan.compat", is_package=True
            )
        return None

    def _exists(self, fullname: str) -> bool:
        self._is_asking = True
        try:
            return importlib.util.find_spec(fullname) is not None
        except ModuleNotFoundError:
            return False
        finally:
            self._is_asking = False

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        module.__dict__.update(self.table.get(name) or self.absent.get(name) or {})


class Patch:
    """What `patch` did; `str()` describes it in one line, and a `with` block ends with `undo`.

    Args:
        family: one of `FAMILIES`.
        package: package that holds the project's ops, or None for the usual one.
    """

    def __init__(self, family: str, package: str | None = None) -> None:
        self.family = family
        self._undo: list[Undo] = []
        spec = _family(family)
        package = spec.package if package is None else package
        table = _table(package, spec.modules)
        absent = _table(package, spec.absent)
        absent = _with_parents(absent) if absent else {}
        loaded = [name for name in table if name in sys.modules]
        try:
            for fix in spec.fixes:
                self._undo.append(FIXES[fix]())
            for name in loaded:
                self._exchange(sys.modules[name], table[name])
            self._find({n: e for n, e in table.items() if n not in loaded}, absent)
        except BaseException:
            self.undo()
            raise
        ops = ", ".join(name.removeprefix(f"{package}.") for name in table)
        already = f" ({len(loaded)} of them were imported already)" if loaded else ""
        self.summary = f"fastgan.compat: {package}: {ops} now use the ops of fastgan{already}"

    def __str__(self) -> str:
        return self.summary

    def _exchange(self, module: ModuleType, exports: Exports) -> None:
        """Set our objects in `module`, and in all modules that imported its own ones from it."""
        held = vars(module)
        replaced = {id(held[n]): (held[n], ours) for n, ours in exports.items() if n in held}
        for name, ours in exports.items():
            self._set(held, name, ours)
        for namespace in _namespaces():
            for name, value in list(namespace.items()):
                theirs, ours = replaced.get(id(value), (None, None))
                if theirs is value and callable(value) and ours is not value:
                    self._set(namespace, name, ours)

    def _set(self, namespace: dict[str, Any], name: str, value: Any) -> None:
        had, old = name in namespace, namespace.get(name)
        namespace[name] = value

        def undo() -> None:
            if had:
                namespace[name] = old
            else:
                namespace.pop(name, None)

        self._undo.append(undo)

    def _find(self, table: Mapping[str, Exports], absent: Mapping[str, Exports]) -> None:
        finder = _Finder(table, absent)
        sys.meta_path.insert(0, finder)

        def undo() -> None:
            sys.meta_path.remove(finder)
            for name, module in list(sys.modules.items()):
                if getattr(getattr(module, "__spec__", None), "loader", None) is not finder:
                    continue
                del sys.modules[name]
                parent, _, child = name.rpartition(".")
                holder = vars(sys.modules[parent]) if parent in sys.modules else {}
                if holder.get(child) is module:
                    del holder[child]

        self._undo.append(undo)

    def undo(self) -> None:
        """Restore everything; a second call does nothing.

        Code that imported a replaced module while it was replaced keeps what it imported.
        """
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.undo()


def patch(family: str, package: str | None = None) -> Patch:
    """Replace the ops of a project by fastgan's, without changing its code, and log one line.

    Call it before or after the project's modules are imported.

    Args:
        family: one of `FAMILIES`: stylegan2-ada, stylegan3, r3gan, rosinality, basicsr, mmcv,
            bigvgan.
        package: dotted name of the package that holds the project's ops, if it is not the usual
            one; for example "models.stylegan2.op" for a copy of rosinality's `op`.

    Returns:
        A `Patch`: call its `undo()`, or use it as a block: ``with patch("stylegan3"): ...``.

    Raises:
        ValueError: there is no such family.
    """
    done = Patch(family, package)
    _log.warning("%s", done)
    return done


def _family(name: str) -> Family:
    if name not in FAMILIES:
        raise ValueError(
            f"patch: family must be one of {', '.join(FAMILIES)}, got {name!r}; for a copy of "
            "these ops in another package, name the package with package="
        )
    return FAMILIES[name]


def _table(package: str, modules: Mapping[str, tuple[str, tuple[str, ...]]]) -> dict[str, Exports]:
    return {
        f"{package}.{name}".rstrip("."): _exports(target, names)
        for name, (target, names) in modules.items()
    }


def _with_parents(table: Mapping[str, Exports]) -> dict[str, Exports]:
    """Empty packages above the absent ones: "mmcv" above "mmcv.ops"."""
    parents: dict[str, Exports] = {}
    for name in table:
        while name := name.rpartition(".")[0]:
            parents[name] = {}
    return parents | dict(table)


def _namespaces() -> Iterator[dict[str, Any]]:
    """The namespaces of all modules except fastgan's."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name.partition(".")[0] != "fastgan":
            yield vars(module)
