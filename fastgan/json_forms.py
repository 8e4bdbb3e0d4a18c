# SPDX-License-Identifier: Apache-2.0
"""JSON of files that anybody may have written: parsed within limits, and checked for its form.

A form is what a value has to be. The reader of each kind of file states one:

    FORM = fields({"shape": rows(whole(1), length=4), "block": whole(1)})
    facts = parse(data, FORM)  # FormError: "shape[2] must be a whole number ..., got null"

A hash over a document does not say that it has this form: whoever writes one computes the hash.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = [
    "MOST_DEPTH",
    "FormError",
    "anything",
    "boolean",
    "entries",
    "fields",
    "maybe",
    "number",
    "one_of",
    "parse",
    "rows",
    "shown",
    "table",
    "text",
    "whole",
]

MOST_DEPTH = 100  # of lists and objects in each other
_MOST_WHOLE = 2**53  # as large as a float64 holds exactly
Form = Callable[[Any, str], None]


class FormError(ValueError):
    """A text is no JSON, or has not the form that its reader needs; the message says where."""


def parse(data: bytes | str, form: Form | None = None) -> Any:
    """The value of a JSON text.

    Args:
        data: JSON; bytes are UTF-8.
        form: what the value has to be; default None: anything.

    Returns:
        dicts, lists, str, int, float, bool and None.

    Raises:
        FormError: it is no JSON, lists and objects are more than MOST_DEPTH deep in each other, or
            a value is another one than the form says.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise FormError(f"its lists and objects are more than {MOST_DEPTH} deep") from None
    except ValueError as error:
        raise FormError(f"it is no JSON ({error})") from error
    _check_depth(value)
    if form is not None:
        form(value, "")
    return value


def anything(value: Any, where: str) -> None:
    """Any JSON value."""


def whole(low: int = 0, high: int = _MOST_WHOLE) -> Form:
    """A whole number from `low` to `high`, and no boolean."""

    def check(value: Any, where: str) -> None:
        if type(value) is not int or not low <= value <= high:
            _refuse(where, f"a whole number from {low} to {high}", value)

    return check


def number(low: float = -math.inf, high: float = math.inf) -> Form:
    """A finite number from `low` to `high`, and no boolean."""

    def check(value: Any, where: str) -> None:
        is_number = type(value) is float or (type(value) is int and abs(value) <= 2**1000)
        if not is_number or not math.isfinite(value) or not low <= value <= high:
            limits = "" if low == -math.inf else f" of at least {low:g}"
            _refuse(where, f"a finite number{limits}", value)

    return check


def boolean(value: Any, where: str) -> None:
    """true or false."""
    if type(value) is not bool:
        _refuse(where, "true or false", value)


def text(most: int = 2**16) -> Form:
    """A string of at most `most` characters."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or len(value) > most:
            _refuse(where, f"a string of at most {most} characters", value)

    return check


def one_of(*values: Any) -> Form:
    """One of these values, of the same type."""

    def check(value: Any, where: str) -> None:
        if not any(type(value) is type(known) and value == known for known in values):
            _refuse(where, " or ".join(json.dumps(known) for known in values), value)

    return check


def maybe(form: Form) -> Form:
    """null, or what `form` says."""

    def check(value: Any, where: str) -> None:
        if value is not None:
            form(value, where)

    return check


def rows(form: Form = anything, *, length: int | None = None) -> Form:
    """A list of values of one form; `length`: how many there are, None for any number."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or length not in (None, len(value)):
            _refuse(where, f"a list{'' if length is None else f' of {length} values'}", value)
        for index, item in enumerate(value):
            form(item, f"{where}[{index}]")

    return check


def entries(*forms: Form) -> Form:
    """A list with one value of each form, in their order."""

    def check(value: Any, where: str) -> None:
        rows(length=len(forms))(value, where)
        for index, (form, item) in enumerate(zip(forms, value, strict=True)):
            form(item, f"{where}[{index}]")

    return check


def table(form: Form = anything) -> Form:
    """An object with any names, whose values have one form."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            _refuse(where, "an object", value)
        for name, item in value.items():
            form(item, _below(where, name))

    return check


def fields(
    needed: Mapping[str, Form],
    optional: Mapping[str, Form] | None = None,
    *,
    others: Form | None = None,
) -> Form:
    """An object with these names; `others`: the form of further ones, None where none may be."""
    optional = optional or {}

    def check(value: Any, where: str) -> None:
        if not isinstance(value, dict):
            _refuse(where, "an object", value)
        if missing := sorted(needed.keys() - value.keys()):
            raise FormError(f"{where or 'it'} has no {', '.join(missing)}")
        for name, item in value.items():
            form = needed.get(name) or optional.get(name) or others
            if form is None:
                raise FormError(f"{where or 'it'} has the unknown name {shown(name)}")
            form(item, _below(where, name))

    return check


def shown(value: Any) -> str:
    """A value for a message: short, in JSON's words, without control characters.

    Args:
        value: any JSON value.

    Returns:
        Such as "null", "a list of 3 values" or '"text"'.
    """
    if isinstance(value, dict | list):
        kind = "an object" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value)} values"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**20:
        return "a huge number"
    words = json.dumps(value[:80] if isinstance(value, str) else value)
    return words if len(words) <= 80 else f"{words[:77]}..."


def _refuse(where: str, expected: str, value: Any) -> None:
    raise FormError(f"{where or 'it'} must be {expected}, got {shown(value)}")


def _below(where: str, name: str) -> str:
    plain = name if name.isidentifier() else json.dumps(name[:80])
    return f"{where}.{plain}" if where else plain


def _check_depth(value: Any) -> None:
    """FormError where lists and objects are too deep, without a recursion that they could end."""
    level, depth = _holders([value]), 0
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            raise FormError(f"its lists and objects are more than {MOST_DEPTH} deep")
        level = _holders(item for h in level for item in (h.values() if isinstance(h, dict) else h))


def _holders(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if isinstance(value, dict | list)]
