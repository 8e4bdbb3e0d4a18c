# SPDX-License-Identifier: Apache-2.0
"""The one list of the tensors that a state consists of.

It is read from the dataclass itself: a field that is a tensor, a module, a `FlatOptimizer` or a
`Statistics` is part of the list as soon as it exists, and a field of an unknown type raises
TypeError. Checkpoints, `TrainStep.state_dict`, the NaN check, the ranks' comparison and all_reduce
of means all use this list, and choose from it by role.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.augment import AdaController
from fastgan.training.optim.flat_optimizer import FlatOptimizer
from fastgan.training.step.context import StepContext
from fastgan.training.step.fault_record import FaultRecord
from fastgan.training.step.statistics import Statistics

__all__ = ["StateTensor", "counters", "list_tensors", "mismatches"]

_NOT_TENSORS = (int, float, str, torch.device, FaultRecord, StepContext)


@dataclass(frozen=True)
class StateTensor:
    """A tensor of a state, and its role.

    Attributes:
        name: field, and the name within it: "G.fc.weight", "d_optimizer.fc.weight.exp_avg",
            "pl_mean".
        tensor: the live one; writing to it sets the state.
        is_saved: a checkpoint holds it, and between two steps it is equal on every rank. Others
            are written anew by every step.
        is_averaged: a mean or a sum over the samples that a process saw, so that the ranks take
            their mean at the end of every step in which it was written.
        may_be_nan: NaN stands for "not known yet".
    """

    name: str
    tensor: Tensor
    is_saved: bool = True
    is_averaged: bool = False
    may_be_nan: bool = False


def list_tensors(state: Any) -> Iterator[StateTensor]:
    """Every tensor of a state, by name.

    Args:
        state: an instance of a dataclass. The `metadata` of its fields may give other roles than
            the default: "name" replaces the field's own name, "is_saved": False is
            `StateTensor.is_saved`, and "has_means": True sets `is_averaged` for the floating-point
            buffers of a module.

    Raises:
        TypeError: for a field, or an entry of a module's state_dict, that is no tensor and no type
            known here.
    """
    for field in dataclasses.fields(state):
        value, role = getattr(state, field.name), field.metadata
        if value is None or isinstance(value, _NOT_TENSORS) or _is_config(value):
            continue
        name = role.get("name") or field.name
        for entry in _entries(name, value, has_means=role.get("has_means", False)):
            is_saved = entry.is_saved and role.get("is_saved", True)
            yield dataclasses.replace(entry, is_saved=is_saved)


def counters(state: Any) -> dict[str, int | float]:
    """Field → value of every number on the host that a checkpoint holds."""
    values = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def mismatches(saved: Mapping[str, Tensor], live: Mapping[str, Tensor]) -> list[str]:
    """What keeps `saved` from being written into `live`: names, shapes and dtypes, in words."""
    problems = [f"missing {name}" for name in live.keys() - saved.keys()]
    problems += [f"unknown {name}" for name in saved.keys() - live.keys()]
    for name in live.keys() & saved.keys():
        got, expected = saved[name], live[name]
        if (got.shape, got.dtype) != (expected.shape, expected.dtype):
            problems.append(
                f"{name} is {tuple(got.shape)} {got.dtype}, expected {tuple(expected.shape)} "
                f"{expected.dtype}"
            )
    more = [f"{len(problems) - 8} more"] if len(problems) > 8 else []
    return sorted(problems)[:8] + more


def _entries(name: str, value: Any, *, has_means: bool) -> Iterator[StateTensor]:
    match value:
        case Tensor():
            yield StateTensor(name, value)
        case FlatOptimizer():
            for path, p in zip(value.flat.names, value.flat.parameters, strict=True):
                for key, tensor in value.state[p].items():
                    yield StateTensor(f"{name}.{path}.{key}", tensor)
            for group in value.param_groups:
                yield StateTensor(f"{name}.lr", group["lr"], is_saved=False)
                if group.get("beta2") is not None:
                    yield StateTensor(f"{name}.beta2", group["beta2"], is_saved=False)
        case Statistics():
            yield StateTensor(f"{name}.sums", value.sums, is_averaged=True)
            yield StateTensor(f"{name}.step_sums", value.step_sums, False, is_averaged=True)
            yield StateTensor(f"{name}.history", value.history)
            yield StateTensor(f"{name}.recorded", value.recorded)
            if value.open_names is not None:
                yield StateTensor(f"{name}.open_names", value.open_names)
        case AdaController():
            for entry in _module_entries(name, value, has_means=False):
                yield dataclasses.replace(
                    entry,
                    is_averaged=entry.name == f"{name}.sums",
                    may_be_nan=entry.name == f"{name}.r_t",
                )
        case nn.Module():
            yield from _module_entries(name, value, has_means=has_means)
        case dict():
            for key, entry in value.items():
                yield from _entries(f"{name}.{key}", entry, has_means=has_means)
        case tuple() | list():
            for i, entry in enumerate(value):
                yield from _entries(f"{name}.{i}", entry, has_means=has_means)
        case _:
            raise TypeError(
                f"list_tensors: the state's field {name} is a {type(value).__name__}; expected a "
                "tensor, a dict, tuple or list of tensors, a module, a FlatOptimizer, a "
                "Statistics or a number"
            )


def _module_entries(field: str, module: nn.Module, *, has_means: bool) -> Iterator[StateTensor]:
    saved = module.state_dict()
    buffers = dict(module.named_buffers())
    for name, value in saved.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"checkpoint: {field}.{name} is a {type(value).__name__}; a checkpoint holds "
                "tensors only, make it a buffer"
            )
        is_mean = has_means and name in buffers and value.is_floating_point()
        yield StateTensor(f"{field}.{name}", value, is_averaged=is_mean)
    for name, value in buffers.items():
        if name not in saved:
            is_mean = has_means and value.is_floating_point()
            yield StateTensor(f"{field}.{name}", value, is_saved=False, is_averaged=is_mean)


def _is_config(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and value.__dataclass_params__.frozen
