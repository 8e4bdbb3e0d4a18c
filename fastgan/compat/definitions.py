# SPDX-License-Identifier: Apache-2.0
"""What the modules of a code base define, read from their sources: nothing is executed."""

import ast
import contextlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from fastgan.compat.families import FAMILIES, Family, Op

Exports = Mapping[str, Any]
_MOST_FILES = 5000  # below one package


@dataclass(frozen=True)
class Parameters:
    """The parameters of a function, by name.

    Args:
        positional: those that may be given by position.
        keywords: those that may not.
        has_any: whether it takes any others, by `*args` or `**options`.
    """

    positional: tuple[str, ...]
    keywords: frozenset[str]
    has_any: bool

    def __str__(self) -> str:
        names = [*self.positional, *sorted(self.keywords), *(["..."] if self.has_any else [])]
        return f"({', '.join(names)})"


def fits(theirs: Parameters | None, ours: Any) -> bool:
    """Whether each call of the project's function is a call of ours with the same meaning.

    Args:
        theirs: its parameters; None if unknown.
        ours: our function or class.
    """
    mine = parameters_of(ours)
    if theirs is None or mine is None or (theirs.has_any and not theirs.positional):
        return True
    count = min(len(theirs.positional), len(mine.positional))
    is_prefix = theirs.positional[:count] == mine.positional[:count]
    rest = {*theirs.positional[count:], *theirs.keywords}
    return is_prefix and (mine.has_any or rest <= {*mine.positional, *mine.keywords})


def parameters_of(function: Any) -> Parameters | None:
    """The parameters of a function or class, or None if they are unknown.

    Args:
        function: it.
    """
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    kinds = inspect.Parameter
    return Parameters(
        tuple(p.name for p in found if p.kind <= kinds.POSITIONAL_OR_KEYWORD),
        frozenset(p.name for p in found if p.kind is kinds.KEYWORD_ONLY),
        any(p.kind in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL) for p in found),
    )


def definitions_in(source: str) -> dict[str, Parameters | None]:
    """{name: parameters} of the functions, classes and variables at the top level of a module.

    Args:
        source: its text; what is no Python of today defines nothing.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return {}
    found: dict[str, Parameters | None] = {}
    for node in _top_level(tree):
        if isinstance(node, ast.FunctionDef):
            found[node.name] = _parameters(node.args)
        elif isinstance(node, ast.ClassDef):
            init = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
            found[node.name] = _parameters(init[0].args, is_method=True) if init else None
        elif isinstance(node, ast.Assign):
            found |= {t.id: None for t in node.targets if isinstance(t, ast.Name)}
    return found


def _top_level(node: Any) -> Iterator[Any]:
    """The statements of a module, in the branches of if, try and with too."""
    for block in ("body", "orelse", "handlers", "finalbody"):
        for child in getattr(node, block, []):
            yield child
            if isinstance(child, ast.If | ast.Try | ast.With | ast.ExceptHandler):
                yield from _top_level(child)


def _parameters(args: ast.arguments, is_method: bool = False) -> Parameters:
    positional = tuple(a.arg for a in (*args.posonlyargs, *args.args))[is_method:]
    keywords = frozenset(a.arg for a in args.kwonlyargs)
    return Parameters(positional, keywords, bool(args.vararg or args.kwarg))


def modules_below(
    package: str, paths: Sequence[str] | None = None
) -> dict[str, dict[str, Parameters | None]] | None:
    """{module: its definitions} of a package and all below it, or None if there is none.

    Args:
        package: its dotted name.
        paths: folders to find it in; None: as Python finds it now.
    """
    spec = _spec_of(package, paths)
    if spec is None:
        return loaded_below(package) or None
    found = {}
    if spec.origin is not None and spec.origin.endswith(".py"):
        found[package] = _read(Path(spec.origin))
    for folder in map(Path, spec.submodule_search_locations or ()):
        for count, file in enumerate(sorted(folder.rglob("*.py"))):
            parts = file.relative_to(folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            if parts and all(part.isidentifier() for part in parts) and count < _MOST_FILES:
                found[".".join((package, *parts))] = _read(file)
    return loaded_below(package) | found


def _spec_of(package: str, paths: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    """Where a package is, without an import of it or of its parents."""
    spec, name = None, ""
    root = package.partition(".")[0]
    for part in package.split("."):
        name = f"{name}.{part}".lstrip(".")
        loaded = sys.modules.get(name) if paths is None else None
        if loaded is not None and getattr(loaded, "__spec__", None) is not None:
            spec = loaded.__spec__
        else:
            spec = importlib.machinery.PathFinder.find_spec(name, paths)
        if spec is None and name == root and name not in sys.modules:
            spec = importlib.util.find_spec(name)  # an editable installation has its own finder
        if spec is None:
            return None
        paths = list(spec.submodule_search_locations or ())
    return spec


def loaded_below(package: str) -> dict[str, dict[str, Parameters | None]]:
    """{module: its functions and classes} of a package and all below it that are imported now.

    Args:
        package: its dotted name.
    """
    return {
        name: {
            key: parameters_of(value)
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == name
        }
        for name, module in list(sys.modules.items())
        if f"{name}.".startswith(f"{package}.") and isinstance(module, ModuleType)
    }


def _read(file: Path) -> dict[str, Parameters | None]:
    with contextlib.suppress(OSError):
        return definitions_in(file.read_text(encoding="utf-8", errors="replace"))
    return {}


def exports(op: Op) -> Exports:
    """{name: object} of ours that replaces the module.

    Args:
        op: it.
    """
    ours = vars(importlib.import_module(op.ours))
    if op.names:
        return {name: ours[name] for name in op.names}
    return {
        name: value
        for name, value in ours.items()
        if not name.startswith("__")
        and not isinstance(value, ModuleType)
        and getattr(value, "__module__", op.ours).startswith("fastgan.")
    }


def matching(
    defined: Mapping[str, Parameters | None], family: Family
) -> tuple[dict[str, Any], list[str]]:
    """What replaces a module, and why other ops that it defines are not replaced.

    Args:
        defined: its definitions.
        family: that of the code base.

    Returns:
        ({name: object of ours}, empty if it defines none of the ops; words on each op that it
        defines with parameters that ours does not have).
    """
    found: dict[str, Any] = {}
    refused: dict[tuple[str, ...], str] = {}
    done = set()
    for op in family.ops:
        if op.defines in done or not set(op.defines) <= set(defined):
            continue
        ours = exports(op)
        wrong = [
            name
            for name, value in ours.items()
            if name in defined and not name.startswith("_") and callable(value)
            and not fits(defined[name], value)
        ]  # fmt: skip
        if not wrong:
            done.add(op.defines)
            found |= ours
            continue
        come = ", ".join(f"{name}{defined[name]}" for name in wrong)
        expected = ", ".join(f"{name}{parameters_of(ours[name])}" for name in wrong)
        refused.setdefault(op.defines, f"expected {expected}, found {come}")
    return found, [words for defines, words in refused.items() if defines not in done]


def families_that_fit(defined: Mapping[str, Parameters | None]) -> list[str]:
    """Names of the families one of whose ops a module defines.

    Args:
        defined: its definitions.
    """
    return [name for name, family in FAMILIES.items() if matching(defined, family)[0]]
