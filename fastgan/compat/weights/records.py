# SPDX-License-Identifier: Apache-2.0
"""What the records of `allow_list` hold: tensors by name, attributes, plain values."""

import argparse
import itertools
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from fastgan.compat.weights import allow_list
from fastgan.compat.weights.allow_list import Array, Held, Record, Refused

MOST_DEPTH = 100  # of modules in modules, and of lists in lists
MOST_OF_AN_ATTRIBUTE = 256  # letters or values; the attributes that change a network are short


def tensor_of(value: Any) -> Any:
    """The tensor in a Held; anything else as it is."""
    return value.tensor if isinstance(value, Held) else value


def modules(network: Record) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of a module's record, as in its state_dict."""
    met = itertools.count(1)

    def of(module: Record, prefix: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
        if depth > MOST_DEPTH or next(met) > allow_list.MOST_VALUES:
            raise Refused("modules in modules without end")
        state = vars(module)
        hidden = state.get("_non_persistent_buffers_set") or ()
        for kind in ("_parameters", "_buffers"):
            for name, held in _items(state, kind):
                if held is None or (kind == "_buffers" and name in hidden):
                    continue
                if not isinstance(held, Held):
                    raise Refused(f"{prefix}{name}, which is not a tensor")
                yield f"{prefix}{name}", held.tensor
        for name, child in _items(state, "_modules"):
            if isinstance(child, Record):
                yield from of(child, f"{prefix}{name}.", depth + 1)

    return of(network, "", 0)


def _items(state: dict[str, Any], kind: str) -> list[tuple[Any, Any]]:
    found = state.get(kind) or {}
    if not isinstance(found, dict):
        raise Refused(f"a module whose {kind} are not a dict")
    return list(found.items())


def attributes(network: Record) -> dict[str, dict[str, Any]]:
    """{name of a module: {"class": …, "attributes": {…}}} of a record and the modules in it.

    Attributes are the public ones, as JSON. What is not plain, and what is long, is named by its
    type, so that a reader of it never takes it for None.
    """
    found: dict[str, dict[str, Any]] = {}
    met = itertools.count(1)

    def of(value: Any, depth: int) -> Any:
        if depth > MOST_DEPTH or next(met) > allow_list.MOST_VALUES:
            raise Refused("attributes in attributes without end")
        if isinstance(value, Array):
            value = value.values
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, torch.dtype):
            return str(value).removeprefix("torch.")
        if isinstance(value, str) and len(value) <= MOST_OF_AN_ATTRIBUTE:
            return value
        if isinstance(value, int) and value.bit_length() <= 64:
            return value
        if isinstance(value, list | tuple | dict) and len(value) <= MOST_OF_AN_ATTRIBUTE:
            if isinstance(value, dict):
                return {
                    str(k): of(v, depth + 1) for k, v in value.items() if isinstance(k, str | int)
                }
            return [of(v, depth + 1) for v in value]
        return f"<{value.class_name if isinstance(value, Record) else type(value).__name__}>"

    def add(module: Record, name: str, depth: int) -> None:
        if depth > MOST_DEPTH or next(met) > allow_list.MOST_VALUES:
            raise Refused("modules in modules without end")
        public = {k: v for k, v in vars(module).items() if _is_public(k)}
        found[name] = {
            "class": module.class_name,
            "attributes": {k: of(v, 0) for k, v in public.items()},
        }
        for key, child in _items(vars(module), "_modules"):
            if isinstance(child, Record):
                add(child, f"{name}.{key}" if name else str(key), depth + 1)

    add(network, "", 0)
    return found


def plain(value: Any) -> Any:
    """`value` as JSON: numbers, strings, lists and dicts; anything else becomes None."""
    met = itertools.count(1)

    def of(value: Any, depth: int) -> Any:
        if depth > MOST_DEPTH or next(met) > allow_list.MOST_VALUES:
            raise Refused("lists in lists without end")
        if isinstance(value, Array):
            value = value.values
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, bool | float | str):
            return value
        if isinstance(value, int):
            return value if value.bit_length() <= 64 else None
        if isinstance(value, dict):
            return {str(k): of(v, depth + 1) for k, v in value.items() if isinstance(k, str | int)}
        if isinstance(value, list | tuple):
            return [of(v, depth + 1) for v in value]
        if isinstance(value, Record | argparse.Namespace | types.SimpleNamespace):
            return of({k: v for k, v in vars(value).items() if _is_public(k)}, depth + 1)
        return None

    return of(value, 0)


def _is_public(name: Any) -> bool:
    return isinstance(name, str) and not name.startswith("_")
