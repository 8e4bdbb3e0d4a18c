# SPDX-License-Identifier: Apache-2.0
"""What a phase finds when it starts and must leave in place: the tensors and host values that are
reachable from given objects.

A captured graph reads and writes memory, not attributes. So between two replays every tensor must
be the same object on the same storage, and no Python value may have been changed by the phase.
"""

import dataclasses
import enum
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

__all__ = ["Held", "held_by", "tensor_changes", "value_changes"]

HostValue = int | float | bool | str | None
_NOT_ENTERED = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
)
_TRANSPARENT = ("_parameters", "_buffers", "_modules")  # of nn.Module: no part of a path


@dataclass
class Held:
    """By path, such as `state.g_optimizer.param_groups[0].lr`.

    storages are kept beside their tensors: `p.data = other` changes a tensor's storage, and a
    storage that is kept alive cannot lend its address to another.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    storages: dict[str, torch.UntypedStorage] = field(default_factory=dict)
    values: dict[str, HostValue | enum.Enum] = field(default_factory=dict)

    def names(self) -> dict[int, str]:
        """The path of the first tensor on each storage."""
        return {storage._cdata: path for path, storage in reversed(self.storages.items())}

    def gradients(self) -> dict[int, str]:
        """The same for the tensors in .grad, which is not entered."""
        leaves = {path: t.grad for path, t in self.tensors.items() if t.is_leaf}
        return {storage_of(g)._cdata: f"{path}.grad" for path, g in leaves.items() if g is not None}


def storage_of(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()


def held_by(holders: Mapping[str, object]) -> Held:
    """Everything reachable from `holders` by fields, attributes, items, parameters and buffers.

    Functions, classes and frozen dataclasses are not entered.
    """
    held, seen = Held(), set()
    for name, holder in holders.items():
        _visit(name, holder, held, seen)
    return held


def _visit(path: str, value: object, held: Held, seen: set[int]) -> None:
    if isinstance(value, HostValue | enum.Enum):
        held.values[path] = value
        return
    if id(value) in seen or isinstance(value, _NOT_ENTERED):
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        held.tensors[path] = value
        held.storages[path] = storage_of(value)
        held.values[f"{path}.requires_grad"] = value.requires_grad
        return
    for name, part in _parts(value):
        _visit(path + name, part, held, seen)


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for i, (key, part) in enumerate(value.items()):
            yield (f".{key}" if isinstance(key, str) else f"[{i}]"), part
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield f"[{i}]", part
    elif dataclasses.is_dataclass(value) and value.__dataclass_params__.frozen:
        return
    else:
        for name, part in list(vars(value).items()) if hasattr(value, "__dict__") else ():
            if isinstance(value, nn.Module) and name in _TRANSPARENT:
                yield from _parts(part)
            else:
                yield f".{name}", part


def tensor_changes(before: Held, after: Held, when: str) -> Iterator[tuple[str, str]]:
    """(path, message) of every tensor that is not the same object on the same memory."""
    for path, old in before.tensors.items():
        new = after.tensors.get(path)
        if new is not old or after.storages[path]._cdata != before.storages[path]._cdata:
            yield (
                path,
                f"is {'gone' if new is None else 'another tensor'} {when}; a replay goes on using "
                "the old one: write into it (copy_, fill_, lerp_)",
            )
    for path in after.tensors:
        if path not in before.tensors:
            yield path, f"is new {when}; make it before the capture and write into it"


def value_changes(before: Held, after: Held) -> Iterator[tuple[str, str]]:
    """(path, message) of every host value that the phase has changed."""
    come_or_gone = before.tensors.keys() ^ after.tensors.keys()
    for path in sorted(before.values.keys() | after.values.keys()):
        old, new = before.values.get(path), after.values.get(path)
        if repr(old) != repr(new) and path.removesuffix(".requires_grad") not in come_or_gone:
            yield (
                path,
                f"is changed by the phase, {old!r} → {new!r}; a replay runs no Python: keep it in "
                "a device tensor, or change it between the phases",
            )
