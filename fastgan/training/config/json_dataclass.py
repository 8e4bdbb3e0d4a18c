# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses to JSON values and back, strictly: no unknown key, no missing key."""

import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Any

from fastgan.json_forms import anything, fields, rows, shown, table, text

__all__ = ["config_values", "from_json", "to_json"]

_OTHER = object()  # no value of a field
_MOST_NUMBER = 1e300  # NaN and infinities are no numbers of JSON
_MOST_WHOLE = 2**63


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


def config_values(values: Any) -> dict[str, Any]:
    """A copy of `TrainConfig.to_dict()`; ValueError where it can't be the values of one."""
    names = {"architecture": text(256), "model": table(), "metrics": rows(text(256))}
    fields({}, names, others=anything)(to_json(values), "TrainConfig")
    return dict(values)


def from_json(cls: type, values: dict[str, Any], where: str) -> Any:
    """`cls(**values)` with lists as tuples and nested dataclasses built; `where` names the place
    in error messages. ValueError: unknown or missing keys, or a value of another type than its
    field has."""
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected a JSON object, got {shown(values)}")
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
    checked = {key: _value(hints[key], item, f"{where}.{key}") for key, item in values.items()}
    try:
        return cls(**checked)
    except ValueError:
        raise
    except Exception as error:  # what a Config computes of numbers that nobody expects
        raise ValueError(f"{where} can't be used: {type(error).__name__}: {error}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type of a field has it; ValueError where it is of another type."""
    found = _of_type(hint, value, where)
    if found is _OTHER:
        words = str(hint).replace("typing.", "") if typing.get_origin(hint) else hint.__name__
        raise ValueError(f"{where}: expected {words}, got {shown(value)}")
    return found


def _of_type(hint: Any, value: Any, where: str) -> Any:
    """`value` as `hint` has it, or _OTHER; of a union, as the first that fits."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _frozen(value)
    if origin in (typing.Union, types.UnionType):
        found = (_of_type(one, value, where) for one in arguments)
        return next((one for one in found if one is not _OTHER), _OTHER)
    if origin is typing.Literal:
        return value if value in arguments and isinstance(value, str) else _OTHER
    if dataclasses.is_dataclass(hint):
        is_made = type(value) is hint
        return value if is_made else from_json(hint, value, where) if value is not None else _OTHER
    if origin is dict:
        return _frozen_items(value) if isinstance(value, dict) else _OTHER
    if origin in (tuple, Sequence) and isinstance(value, list | tuple):
        if origin is tuple and arguments[-1] is not ...:
            kinds = arguments if len(arguments) == len(value) else None
        else:
            kinds = (arguments[0],) * len(value)
        if kinds is None:
            return _OTHER
        items = tuple(_of_type(k, v, where) for k, v in zip(kinds, value, strict=True))
        return _OTHER if _OTHER in items else items
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and is_number:
        return value if abs(value) <= _MOST_NUMBER else _OTHER
    if hint is int and isinstance(value, int) and is_number:
        return value if abs(value) <= _MOST_WHOLE else _OTHER
    is_same = hint in (bool, str, type(None)) and type(value) is hint
    return value if is_same else _OTHER


def _frozen_items(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _frozen(item) for key, item in values.items()}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
