# SPDX-License-Identifier: Apache-2.0
"""Every value of a JSON document replaced by something else, one at a time."""

from collections.abc import Iterator
from random import Random
from typing import Any

REPLACEMENTS = (None, [], {}, "", -1, float("inf"), True, 10**400, 1e300, [[[[None]]]], "\x1b]0;x")


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Paths of all values in a document, those of lists and objects, too."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))


def replaced(value: Any, path: tuple, new: Any) -> Any:
    """A copy of a document with another value at a path."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


def changes(document: Any, share: float = 1.0) -> Iterator[tuple[str, Any]]:
    """(what was done, the document) of every value and every replacement, and of removed names.

    share: of them, drawn with a fixed seed.
    """
    random = Random(19)
    return (change for change in _all_changes(document) if random.random() < share)


def _all_changes(document: Any) -> Iterator[tuple[str, Any]]:
    for path in leaves(document):
        name = ".".join(map(str, path))
        for new in REPLACEMENTS:
            yield f"{name} = {new!r:.40}", replaced(document, path, new)
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        if isinstance(parent, dict):
            without = {key: item for key, item in parent.items() if key != path[-1]}
            yield f"{name} removed", replaced(document, path[:-1], without)
    for new in REPLACEMENTS:
        yield f"the document = {new!r:.40}", new
