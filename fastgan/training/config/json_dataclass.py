# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses to JSON values and back, strictly: no unknown key, no missing key."""

import dataclasses
import typing
from typing import Any

__all__ = ["from_json", "to_json"]


def to_json(value: Any) -> Any:
    """dataclass → dict, tuple → list, recursively; str, int, float, bool and None stay."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"to_json: expected a JSON value, got {type(value).__name__} ({value!r})")


def from_json(cls: type, values: dict[str, Any], where: str) -> Any:
    """`cls(**values)` with lists as tuples and nested dataclasses built; `where` names the place
    in error messages. ValueError: unknown or missing keys, or a value that is not a dict."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected a JSON object, got {values!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(values.keys() - fields.keys())
    if unknown:
        raise ValueError(
            f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(sorted(fields))}"
        )
    missing = sorted(
        name
        for name, f in fields.items()
        if name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    )
    if missing:
        raise ValueError(f"{where}: missing key {', '.join(missing)}")
    hints = typing.get_type_hints(cls)
    return cls(**{key: _value(hints[key], item, f"{where}.{key}") for key, item in values.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    for kind in (hint, *typing.get_args(hint)):  # the second: of a dataclass or None
        if dataclasses.is_dataclass(kind) and isinstance(value, dict):
            return from_json(kind, value, where)
    return _frozen(value)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
