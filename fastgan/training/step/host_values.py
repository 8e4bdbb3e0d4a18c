# SPDX-License-Identifier: Apache-2.0
"""What the phases of a step read on the host, by name: a CUDA graph keeps it as it was captured.

Configuration, the optimisers' numbers, each module's numbers (its `training` flag, a fade-in's
Python float) and each parameter's requires_grad. They are compared before every step, and between
two calls of one phase: `fastgan.training.step.capture.PhaseRunner`.
"""

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from torch import nn

__all__ = ["HostValues", "Same", "changes", "module_values", "networks", "step_values"]

HostValues = dict[str, Hashable]

_NUMBERS = frozenset((bool, int, float, complex, str, type(None)))


class Same:
    """An object that equals itself only. It is kept alive: no other one takes its address."""

    def __init__(self, value: Any):
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)


def networks(state: Any) -> dict[str, nn.Module]:
    """Name → module of all that the phases of a `StepState` call."""
    return {"augment": state.augment, "objective": state.objective, "D": state.D, "G": state.G}


def step_values(state: Any) -> HostValues:
    """All that the phases of a `StepState` read on the host."""
    context = state.context
    values: HostValues = {
        "config": Same(state.config),
        "statistics": state.stats.names,
        "latent_sampler": Same(context.latent_sampler),
        "all_reduce_gradient": Same(context.all_reduce_gradient),
        "all_reduce_means": Same(context.all_reduce_means),
        "last_backward": Same(context.last_backward),
        "blur.is_active": state.blur is not None and state.blur.is_active,
    }
    for name, optimizer in (("g_optimizer", state.g_optimizer), ("d_optimizer", state.d_optimizer)):
        group = optimizer.param_groups[0]
        values |= {f"{name}.{key}": group[key] for key in optimizer.HOST_NUMBERS}
        values |= {f"{name}.{key}": Same(group.get(key)) for key in ("lr", "beta2")}
    modules = networks(state)
    values |= {name: Same(module) for name, module in modules.items()}
    return values | module_values(modules)


def module_values(modules: Mapping[str, nn.Module]) -> HostValues:
    """The numbers among the attributes of every module, and every parameter's requires_grad.

    Args:
        modules: name → module.

    Returns:
        "D.fade.alpha" → 0.5, "D.conv.weight.requires_grad" → True. Numbers are bool, int, float,
        complex, str and None, and tuples and lists of them.
    """
    values: HostValues = {}
    for network, root in modules.items():
        for path, module in root.named_modules(prefix=network):
            for name, value in vars(module).items():
                kind = type(value)
                if kind in _NUMBERS:
                    values[f"{path}.{name}"] = value
                elif kind in (tuple, list) and all(type(item) in _NUMBERS for item in value):
                    values[f"{path}.{name}"] = tuple(value)
            for name, p in module._parameters.items():
                if p is not None:
                    values[f"{path}.{name}.requires_grad"] = p.requires_grad
    return values


def changes(old: Mapping[str, Hashable], new: Mapping[str, Hashable]) -> Iterator[tuple[str, str]]:
    """(name, what happened to it in words) of everything that differs."""
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield name, f"{name} was removed"
        elif name not in old:
            yield name, f"{name} was added"
        else:
            before, after = old[name], new[name]
            both_nan = before != before and after != after
            if (before == after and type(before) is type(after)) or both_nan:
                continue
            if isinstance(before, Same) or isinstance(after, Same):
                yield name, f"{name} was replaced"
            else:
                yield name, f"{name} changed from {before!r} to {after!r}"
