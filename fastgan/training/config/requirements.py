# SPDX-License-Identifier: Apache-2.0
"""`require`: ValueError that says what was expected of a setting, what came, and the way out."""

import dataclasses
import math
import typing
from functools import cache
from numbers import Real
from typing import Any

__all__ = ["require", "require_numbers", "require_whole"]


def require(is_fine: bool, name: str, expected: str, got: Any, way_out: str) -> None:
    """Raises ValueError, which says what was expected of `name`, unless `is_fine`."""
    if not is_fine:
        raise ValueError(f"{name}: expected {expected}, got {got!r}; {way_out}")


def require_numbers(config: Any, prefix: str = "") -> None:
    """Raises ValueError unless every field of numbers of a dataclass holds finite ones.

    NaN and infinities are none, nor is a bool, which Python would take for 0 or 1.

    Args:
        config: the dataclass.
        prefix: of the names in messages, such as "ema.".
    """
    for name, kinds in _fields_of_numbers(type(config)):
        value = getattr(config, name)
        if isinstance(value, kinds):  # None, or a word such as "auto"
            continue
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        is_fine = is_number and abs(value) < math.inf
        way_out = "NaN and infinity are none" if is_number else "write it as one, such as 1"
        require(is_fine, prefix + name, "a finite number", value, way_out)


@cache
def _fields_of_numbers(cls: type) -> list[tuple[str, tuple[type, ...]]]:
    """Name → the other types of a field that may be an int or a float."""
    found = []
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kinds = set(typing.get_args(hints[field.name]) or (hints[field.name],))
        if {int, float} & kinds and typing.get_origin(hints[field.name]) is not tuple:
            others = {kind for kind in kinds if isinstance(kind, type)} - {int, float}
            found.append((field.name, tuple(others)))
    return found


def require_whole(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is an int of at least 1."""
    is_fine = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    require(is_fine, name, "a whole number >= 1", value, "1 is the smallest")
