# SPDX-License-Identifier: Apache-2.0
"""`patch`: fastgan's ops in the places where a project's own code imports its ops.

The modules are found by what they define, anywhere below the packages of the family. One that is
not imported yet is made by an import finder before all others. In one that is already imported the
functions are replaced, and so are the references that other modules got by `from ... import`.
`Patch.check` proves it, and `Patch.undo` restores everything.
"""

import importlib.abc
import importlib.machinery
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, Self

from fastgan.compat import definitions
from fastgan.compat.changes import Changes
from fastgan.compat.definitions import Exports
from fastgan.compat.families import Family, family_of
from fastgan.compat.legacy_apis import FIXES, fixes
from fastgan.compat.survey import describe, replacement, survey

_log = logging.getLogger("fastgan")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes the modules that define ops, and the absent packages if nothing else makes them."""

    def __init__(
        self, family: Family, absent: Mapping[str, Exports], on_made: Callable[[str], None]
    ) -> None:
        self.family, self.absent, self.on_made = family, absent, on_made
        self.made: dict[str, Exports] = {}
        self._asking: set[str] = set()

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        is_below = any(f"{fullname}.".startswith(f"{p}.") for p in self.family.packages)
        if fullname in self._asking or not (is_below or fullname in self.absent):
            return None
        theirs = self._others(fullname, path, target)
        if theirs is None:
            ours, is_package = self.absent.get(fullname), True
        else:
            ours, is_package = self._replacement(fullname, theirs), False
        if not ours and (theirs is not None or ours is None):
            return None
        self.made[fullname] = ours
        spec = importlib.machinery.ModuleSpec(
            fullname, self, origin="fastgan.compat", is_package=is_package
        )
        if theirs is not None and theirs.submodule_search_locations is not None:
            spec.submodule_search_locations = list(theirs.submodule_search_locations)
        return spec

    def _others(self, fullname: str, path: Any, target: Any) -> Any:
        """What Python would load without this finder."""
        self._asking.add(fullname)
        try:
            finders = [f for f in sys.meta_path if f is not self and hasattr(f, "find_spec")]
            found = (finder.find_spec(fullname, path, target) for finder in finders)
            return next((spec for spec in found if spec is not None), None)
        finally:
            self._asking.discard(fullname)

    def _replacement(self, fullname: str, theirs: Any) -> Exports:
        if isinstance(theirs.loader, _Finder):
            return theirs.loader.made[fullname]
        if not hasattr(theirs.loader, "get_source"):
            return {}
        source = theirs.loader.get_source(fullname)
        defined = definitions.definitions_in(source) if source else {}
        try:
            return replacement(fullname, defined, self.family)
        except ValueError as error:
            raise ImportError(str(error)) from error

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.update(self.made[module.__name__])
        self.on_made(module.__name__)


class Patch:
    """What `patch` did; `str()` describes it in one line, and a `with` block ends with `undo`.

    Args:
        family: one of `FAMILIES` or of `COPIES`.
        package: package that holds the project's ops, or several, or None for the usual ones.
        is_deferred: whether the package may still be unknown to Python. Then nothing is looked for
            now, and a module is replaced when it is imported, if it defines one of the ops.
        on_made: called with the name of each module that is replaced when it is imported.

    Raises:
        TypeError: package is no name, and no sequence of names.
        ValueError: there is no such family or package, the package defines none of the ops, or
            one with other parameters.
    """

    def __init__(
        self,
        family: str,
        package: str | Sequence[str] | None = None,
        *,
        is_deferred: bool = False,
        on_made: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.family = family
        self._spec = family_of(family, package)
        self._exchanged: dict[str, Exports] = {}
        self._undo = Changes()
        absent = {name: definitions.exports(op) for name, op in self._spec.absent.items()}
        absent = _parents(absent) | absent
        self.found = {} if is_deferred else survey(family, package)
        self._finder = _Finder(self._spec, absent, on_made)
        try:
            fixes.install(self._undo, FIXES)
            for name, ours in self.found.items():
                if name in sys.modules:
                    self._exchange(sys.modules[name], ours)
                    self._exchanged[name] = ours
            self._undo.callback(fixes.forget_modules, self._finder)
            sys.meta_path.insert(0, self._finder)
            self._undo.callback(sys.meta_path.remove, self._finder)
            self.check()
        except BaseException:
            self.undo()
            raise

    def __str__(self) -> str:
        return f"fastgan.compat: {describe(self.family, self._spec, self.found)}"

    def check(self) -> None:
        """Prove that the functions of all replaced modules that are imported now are fastgan's.

        Raises:
            RuntimeError: one is not.
        """
        theirs: dict[str, list[str]] = {}
        for name, ours in {**self.found, **self._finder.made, **self._exchanged}.items():
            held = vars(sys.modules[name]) if name in sys.modules else ours
            theirs[name] = [
                key
                for key, value in ours.items()
                if callable(value) and held.get(key) is not value
                and not isinstance(held.get(key), ModuleType)  # a module of the same name below
            ]  # fmt: skip
        for package in self._spec.packages:  # those that no finder of ours was asked for
            for name, defined in definitions.loaded_below(package).items():
                ours, refused = definitions.matching(defined, self._spec)
                if (ours or refused) and not theirs.get(name):
                    theirs[name] = sorted(set(ours) & set(defined)) or refused
        for name, wrong in theirs.items():
            if wrong:
                raise RuntimeError(
                    f"patch: {name} holds {', '.join(wrong)} of another origin than fastgan (it "
                    f"comes from {getattr(sys.modules[name], '__file__', None)}): it was imported "
                    "past the import finder of patch, or set afterwards; call patch after that"
                )

    def _exchange(self, module: ModuleType, ours: Exports) -> None:
        """Set our objects in `module`, and in all modules that imported its own ones from it."""
        held = vars(module)
        replaced = {id(held[n]): (held[n], value) for n, value in ours.items() if n in held}
        for name, value in ours.items():
            self._undo.set(module, name, value)
        for other in _modules():
            for name, value in list(vars(other).items()):
                theirs, mine = replaced.get(id(value), (None, None))
                if theirs is value and callable(value) and mine is not value:
                    self._undo.set(other, name, mine)

    def undo(self) -> None:
        """Restore everything; a second call does nothing.

        Code that imported a replaced module while it was replaced keeps what it imported.
        """
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            if kind is None:
                self.check()
        finally:
            self.undo()


def patch(family: str, package: str | Sequence[str] | None = None) -> Patch:
    """Replace the ops of a project by fastgan's, without changing its code, and log one line.

    Call it before or after the project's modules are imported. Its folder must be in `sys.path`.

    Args:
        family: one of `FAMILIES`: stylegan2-ada, stylegan3, r3gan, studiogan, rosinality, basicsr,
            mmcv, bigvgan, hifigan; or the name of a code base built on one, one of `COPIES`.
        package: dotted name of the package that holds the project's ops, if it is not the usual
            one; for example "models.stylegan2.op" for a copy of rosinality's `op`. Any module
            below it that defines one of the ops is replaced. A list, if there are several.

    Returns:
        A `Patch`: call its `undo()`, or use it as a block: ``with patch("stylegan3"): ...``.

    Raises:
        TypeError: package is no name, and no sequence of names.
        ValueError: there is no such family; Python finds no such package; the package defines none
            of the ops; or one of them with parameters that ours does not have.
    """
    done = Patch(family, package)
    _log.warning("%s", done)
    return done


def _parents(table: Mapping[str, Exports]) -> dict[str, Exports]:
    """Empty packages above the absent ones: "mmcv" above "mmcv.ops"."""
    parents: dict[str, Exports] = {}
    for name in table:
        while name := name.rpartition(".")[0]:
            parents[name] = {}
    return parents


def _modules() -> Iterator[ModuleType]:
    """All modules except fastgan's."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name.partition(".")[0] != "fastgan":
            yield module
