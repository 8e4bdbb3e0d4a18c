# SPDX-License-Identifier: Apache-2.0
"""setuptools, and distutils, which is part of it since Python 3.12."""

import re
import shutil
from collections.abc import Mapping
from functools import total_ordering
from importlib import metadata, resources
from typing import Any

from fastgan.compat.legacy_apis.fixes import makes


def _parse_version(text: str) -> Any:
    """Comparable: packaging's Version, else the numbers that it starts with."""
    try:
        from packaging.version import Version
    except ImportError:
        return tuple(int(n) for n in re.findall(r"\d+", text.split("+")[0]))
    return Version(text)


@makes("pkg_resources")
def _pkg_resources() -> Mapping[str, Any]:
    """`pkg_resources`, which setuptools removed; with the names that are used most."""
    return {
        "parse_version": _parse_version,
        "get_distribution": metadata.distribution,
        "DistributionNotFound": metadata.PackageNotFoundError,
        "iter_entry_points": lambda group, name=None: iter(
            metadata.entry_points(group=group, **({} if name is None else {"name": name}))
        ),
        "declare_namespace": lambda packageName: None,
        "resource_filename": lambda package, name: str(resources.files(package).joinpath(name)),
    }


@total_ordering
class LooseVersion:
    """A version that is compared number by number.

    Args:
        vstring: the version, such as "1.10.0".
    """

    def __init__(self, vstring: str) -> None:
        self.vstring = vstring
        parts = re.findall(r"\d+|[a-z]+", vstring)
        self.version = [int(part) if part.isdigit() else part for part in parts]

    def __eq__(self, other: object) -> bool:
        return self.version == _loose(other).version

    def __lt__(self, other: object) -> bool:
        return self.version < _loose(other).version

    def __hash__(self) -> int:
        return hash(self.vstring)

    def __str__(self) -> str:
        return self.vstring


def _loose(other: Any) -> LooseVersion:
    return other if isinstance(other, LooseVersion) else LooseVersion(other)


def _strtobool(val: str) -> int:
    """1 or 0."""
    if val.lower() in ("y", "yes", "t", "true", "on", "1"):
        return 1
    if val.lower() in ("n", "no", "f", "false", "off", "0"):
        return 0
    raise ValueError(f"strtobool: val must be yes or no, true or false, on or off, got {val!r}")


@makes("distutils")
def _distutils() -> Mapping[str, Any]:
    """`distutils`, which Python 3.12 removed; with its modules below."""
    return {}


@makes("distutils.version")
def _distutils_version() -> Mapping[str, Any]:
    """`LooseVersion`; `StrictVersion` is the same class."""
    return {"LooseVersion": LooseVersion, "StrictVersion": LooseVersion}


@makes("distutils.util")
def _distutils_util() -> Mapping[str, Any]:
    """`strtobool`."""
    return {"strtobool": _strtobool}


@makes("distutils.spawn")
def _distutils_spawn() -> Mapping[str, Any]:
    """`find_executable`."""
    return {"find_executable": shutil.which}
