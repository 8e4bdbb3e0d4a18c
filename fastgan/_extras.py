# SPDX-License-Identifier: Apache-2.0
"""Packages that only an extra of pyproject.toml installs, imported at their first use.

`import fastgan` and every layer, model, loss and training step need torch and numpy alone.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any


class MissingPackageError(ModuleNotFoundError):
    """A package is not installed; the message names the extra that brings it."""


def require(name: str, extra: str) -> ModuleType:
    """Import module `name`.

    Raises:
        MissingPackageError: its package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        raise _missing(package, extra) from error


def check_installed(package: str, extra: str) -> None:
    """Look for a package without importing it, which may take seconds.

    Raises:
        MissingPackageError: it is not installed.
    """
    there = sys.modules.get(package) is not None
    if not there and importlib.util.find_spec(package) is None:
        raise _missing(package, extra)


def _missing(package: str, extra: str) -> MissingPackageError:
    return MissingPackageError(
        f"the Python package {package} is not installed; pip install 'fastgan[{extra}]'",
        name=package,
    )


class Extra:
    """Stands for module `name`, which is imported when an attribute of it is first used.

    Example:
        Image = Extra("PIL.Image", "train")
    """

    def __init__(self, name: str, extra: str) -> None:
        self._name, self._extra = name, extra

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # what inspect and copy look for
            raise AttributeError(attribute)
        return getattr(require(self._name, self._extra), attribute)
