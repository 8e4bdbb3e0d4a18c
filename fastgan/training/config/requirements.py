# SPDX-License-Identifier: Apache-2.0
"""`require`: ValueError that says what was expected of a setting, what came, and the way out."""

from typing import Any

__all__ = ["require", "require_whole"]


def require(is_fine: bool, name: str, expected: str, got: Any, way_out: str) -> None:
    """Raises ValueError, which says what was expected of `name`, unless `is_fine`."""
    if not is_fine:
        raise ValueError(f"{name}: expected {expected}, got {got!r}; {way_out}")


def require_whole(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is an int of at least 1."""
    is_fine = isinstance(value, int) and value >= 1
    require(is_fine, name, "a whole number >= 1", value, "1 is the smallest")
