# SPDX-License-Identifier: Apache-2.0
"""A run's settings without what names the machine or the person that trained it."""

import getpass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

__all__ = ["only_name", "without_paths"]


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """`TrainConfig.to_dict()` in which every path has become the name of its file or folder.

    Args:
        config: JSON values.

    Returns:
        A copy. Paths are looked for in all values, since the options of a data set are open.
    """
    return _shortened(config)


def only_name(text: str) -> str:
    """The last part of a path; "data" where that is a person's home folder, or the root.

    Args:
        text: a path of this or another system, or a plain name.

    Returns:
        A name without separators.
    """
    kind = PureWindowsPath if "\\" in text or text[1:2] == ":" else PurePosixPath
    name = kind(text.rstrip("/\\")).name
    return "data" if name.lower() in _private() else name


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    if isinstance(value, str) and any(mark in value for mark in "/\\~"):
        return only_name(value)
    return value


def _private() -> set[str]:
    names = {"", ".", "..", "~"}
    try:
        return names | {getpass.getuser().lower(), Path.home().name.lower()}
    except (OSError, KeyError, RuntimeError):  # a user without a name or a home
        return names
