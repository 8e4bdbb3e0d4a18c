"""Finds cases: a public file in `fastgan/bench/{ops,models,steps}` with `cases()`, by its name."""

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import Any

KINDS = ("ops", "models", "steps")


def case_files(kind: str) -> list[str]:
    """Names of the public files of `fastgan.bench.<kind>`, sorted."""
    package = importlib.import_module(f"fastgan.bench.{kind}")
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in names if not name.startswith("_"))


def load_case_file(kind: str, name: str) -> ModuleType:
    """ValueError names the files that exist."""
    if name not in case_files(kind):
        raise ValueError(
            f"no {name!r} among the {kind}: choose from {', '.join(case_files(kind))}; a new one "
            f"is a new file in fastgan/bench/{kind}"
        )
    return importlib.import_module(f"fastgan.bench.{kind}.{name}")


def load_cases(kind: str, names: Iterable[str] = (), *, is_quick: bool = False) -> list[Any]:
    """The cases of the named files (all, if none is named); `is_quick` keeps the short ones."""
    modules = [load_case_file(kind, name) for name in list(names) or case_files(kind)]
    return [c for module in modules for c in module.cases() if c.is_quick or not is_quick]
