# SPDX-License-Identifier: Apache-2.0
"""How many operators each phase of each shipped recipe runs, and how many of them launch work.

Runs the phases once on fake 'cuda' tensors, as `fastgan train` runs them (every sample draws random
numbers of its own). An operator launches where it is neither a view (`OpOverload.is_view`) nor only
allocates or asks for a size, and where one of its tensors has an element: a CUDA graph then has at
least one node for it. It is a count of operators, not of kernels: the backward pass of a
convolution is one operator and two kernels or three, a reduction may be two, and what cuDNN and
cuBLAS launch beside their main kernel is unknown here. fake_cuda.cpp says that cuDNN is there, on
which the memory format of what convolutions return depends, and so which copies follow.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lint import ValuesAreOne, construction, fake_device
from recipe_phases import autocast_works, host_work, make_batch, phases_of_a_run
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fastgan.losses import load_objective
from fastgan.training.config.recipes import load_recipe
from fastgan.training.config.run import TrainConfig
from fastgan.training.distributed.replica import replicate
from fastgan.training.step.state import build_state

sys.path.insert(0, str(Path(__file__).parents[1]))
from _small_networks import (
    AS_PUBLISHED,
    PUBLISHED_RECIPES,
    SMALL_RECIPES,
    config_as_published,
    size_of,
)

__all__ = ["PUBLISHED_RECIPES", "SMALL_RECIPES", "VARIANTS", "PhaseCount", "count_recipe"]

RESOLUTION = (64, 64)
BATCH = 8
VARIANTS = ("fp32", "bf16", "fp32, augmented", "bf16, augmented")
# aten ops that are no views and launch nothing: they allocate, or concern the host alone
_NO_LAUNCH = {
    "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "alias",
    "_unsafe_view", "_reshape_alias", "lift_fresh", "set_", "resize_", "sym_size", "sym_stride",
    "sym_numel", "sym_storage_offset", "is_same_size", "_has_same_storage_numel",
}  # fmt: skip


@dataclass(frozen=True)
class PhaseCount:
    """One line of the table.

    Attributes:
        key: "recipe, variant, phase", the name in the file of ceilings.
        operators: all that were dispatched, views included.
        launching: name → how often, of those that launch.
    """

    key: str
    operators: int
    launching: Counter[str]


def count_recipe(name: str, variants: Sequence[str] = VARIANTS) -> Iterator[PhaseCount]:
    """The counts of a recipe's phases; fake_cuda.load() comes before."""
    for variant in [AS_PUBLISHED] if name in PUBLISHED_RECIPES else variants:
        with fake_device():
            yield from _count_variant(name, variant)


def _config(name: str, variant: str) -> TrainConfig:
    recipe = load_recipe(name)
    if variant == AS_PUBLISHED:
        return config_as_published(name, BATCH)
    size = size_of(recipe, RESOLUTION)
    precision = variant.split(", ")[0]
    config = recipe(resolution=size, batch=BATCH, device="cuda", precision=precision)
    if variant.endswith("augmented"):
        needs_real = load_objective(config.objective).needs_real_for_g
        mode = "fixed" if needs_real else "ada"
        config = config.with_changes(augment={"groups": "bgc", "p": 0.1, "mode": mode})
    return config


def _count_variant(name: str, variant: str) -> Iterator[PhaseCount]:
    config = _config(name, variant)
    with construction():
        state = build_state(config)
        replicate(state, None)
        batch = make_batch(config)
    for phase, run in phases_of_a_run(state, batch):
        with autocast_works(), ValuesAreOne():
            host_work(state, batch, 0)
            run()  # what a first run finds out and keeps is no part of the phase
            host_work(state, batch, 1)
            yield _count(f"{name}, {variant}, {phase}", run)


def _count(key: str, run: Callable[[], None]) -> PhaseCount:
    with _Counts() as counts:
        run()
    return PhaseCount(key, counts.operators, counts.launching)


class _Counts(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators = 0
        self.launching: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func.namespace in ("prim", "profiler"):
            return output
        self.operators += 1
        leaves = tree_leaves((args, kwargs, output))
        if _launches(func, [leaf for leaf in leaves if isinstance(leaf, Tensor)]):
            self.launching[_name(func, args, kwargs or {})] += 1
        return output


def _launches(func: torch._ops.OpOverload, tensors: list[Tensor]) -> bool:
    if func.is_view or (func.namespace == "aten" and func._opname in _NO_LAUNCH):
        return False
    return any(t.device.type == "cuda" and t.numel() > 0 for t in tensors)


def _name(func: torch._ops.OpOverload, args, kwargs) -> str:
    """The op's name; a copy into another dtype is a "cast"."""
    if func._opname == "_to_copy" and kwargs.get("dtype") not in (None, args[0].dtype):
        return "cast"
    return f"{func.namespace}.{func._opname}".removeprefix("aten.")
