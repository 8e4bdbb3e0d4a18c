# SPDX-License-Identifier: Apache-2.0
"""Finds cases: a public file in `fastgan/bench/{ops,models,steps}` with `cases()`, by its name."""

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from fastgan.registry import ModuleRegistry

KINDS = ("ops", "models", "steps")


def _registry(kind: str) -> ModuleRegistry:
    return ModuleRegistry(f"fastgan.bench.{kind}", "case file", "fastgan bench")


def case_files(kind: str) -> list[str]:
    """Names of the public files of `fastgan.bench.<kind>`, sorted."""
    return _registry(kind).names()


def load_case_file(kind: str, name: str) -> ModuleType:
    """The module `fastgan.bench.<kind>.<name>`; ValueError names the files that exist."""
    return _registry(kind).load(name)


def load_cases(kind: str, names: Iterable[str] = (), *, is_quick: bool = False) -> list[Any]:
    """The cases of the named files (all, if none is named); `is_quick` keeps the short ones."""
    modules = [load_case_file(kind, name) for name in list(names) or case_files(kind)]
    return [c for module in modules for c in module.cases() if c.is_quick or not is_quick]
