# SPDX-License-Identifier: Apache-2.0
"""A batch of real samples, and how it is split over ranks and micro-batches.

Rank r of W has samples r, r + W, …; micro-batch a of A takes every A-th of those, from the a-th
on: row l of it is sample (r + W·a) + W·A·l of the batch.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from fastgan._trees import map_tensors, num_rows
from fastgan.nn import MinibatchStddev
from fastgan.ops.minibatch_stddev import largest_group
from fastgan.training.config.run import TrainConfig

__all__ = [
    "Batch",
    "check_group_size",
    "check_groups",
    "check_split",
    "micro_batches",
    "num_micro_batches",
    "rows_of_rank",
]


@dataclass
class Batch:
    """Real samples of one step.

    Args:
        x: images [N, C, H, W] in about [-1, 1], or samples of any other shape [N, ...]; or a tree
            of such (dict, tuple, list, registered dataclass).
        c: their conditions, such as classes [N, c_dim], or a tree of tensors [N, ...]; None for
            none.
    """

    x: Any
    c: Any = None

    @property
    def n(self) -> int:
        """N, the number of samples."""
        return num_rows(self.x)

    def rows(self, which: slice) -> "Batch":
        """Some of the samples.

        Args:
            which: their places in the batch.

        Returns:
            Copies, contiguous in memory.
        """
        return Batch(x=_rows(self.x, which), c=_rows(self.c, which))


def _rows(tree: Any, which: slice) -> Any:
    return map_tensors(lambda t: t[which].contiguous(), tree)


def rows_of_rank(x: Any, rank: int, world_size: int) -> Any:
    """The rows [N / world_size, ...] of a whole batch [N, ...], a tree, that belong to `rank`."""
    return x if world_size == 1 else _rows(x, slice(rank, None, world_size))


def num_micro_batches(n: int, at_once: int | None) -> int:
    """A: how many micro-batches of at most `at_once` rows (None: all) n rows are split into."""
    return 1 if at_once is None else -(-n // at_once)


def micro_batches(batch: Batch, at_once: int | None) -> Iterator[tuple[Batch, float]]:
    """Micro-batches of at most `at_once` samples (None: all), each with its share of the batch.

    Micro-batch a of A takes every A-th sample from the a-th on, so that no minibatch-stddev group
    is split (`check_groups`). Real sample i and the fake sample that it is paired with are in the
    same micro-batch.
    """
    n = batch.n
    count = num_micro_batches(n, at_once)
    if count == 1:
        yield batch, 1.0
        return
    for a in range(count):
        part = batch.rows(slice(a, None, count))
        yield part, part.n / n


def check_split(config: TrainConfig, world_size: int) -> None:
    """Checks that `config.batch` can be split equally over `world_size` ranks.

    Raises:
        ValueError: when batch is no multiple of world_size, when batch_gpu does not divide a rank's
            share, or when pl_batch_shrink does not divide it for a lazy path-length step.
    """
    batch, at_once = config.batch, config.batch_gpu
    if batch % world_size:
        raise ValueError(
            f"batch: expected a multiple of the {world_size} processes, got {batch}; "
            f"{_nearest(config, world_size)}"
        )
    share = batch // world_size
    if at_once is not None and share % at_once:
        raise ValueError(
            f"batch_gpu: expected a divisor of the {share} samples of each process (batch {batch} "
            f"over {world_size} processes), got {at_once}; leave it out (--batch-gpu) to compute "
            "all of them at once"
        )
    shrink = _shrink(config, world_size)
    if share % shrink:
        raise ValueError(
            f"batch: expected a multiple of {shrink * world_size}, got {batch}; a lazy path-length "
            f"step uses 1/{shrink} of each process's {share} samples; "
            f"{_nearest(config, world_size)}"
        )


def _shrink(config: TrainConfig, world_size: int) -> int:
    """The number that a process's share must be a multiple of for a lazy path-length step."""
    is_shrunk = config.pl_weight > 0 and config.g_reg_interval > 1
    return config.pl_batch_shrink if is_shrunk and world_size > 1 else 1


def _nearest(config: TrainConfig, world_size: int) -> str:
    """Words with the batch nearest to `config.batch` that every rule takes.

    Rules on the path-length step, on batch_gpu, and on D's groups where the model has them.
    """
    batch, group = config.batch, _group_size(config)
    unit = world_size * math.lcm(_shrink(config, world_size), config.batch_gpu or 1)
    cuts = group is not None and config.batch_gpu is not None and config.batch_gpu % group
    unit_of_groups = unit if group is None or cuts else math.lcm(unit, world_size * group)
    near = max(round(batch / unit_of_groups), 1) * unit_of_groups
    whole = "" if unit_of_groups == unit else f" and keeps groups of {group} samples (mbstd_group)"
    return f"the nearest that fits{whole} is {near}"


def _group_size(config: TrainConfig) -> int | None:
    """The minibatch-stddev group of D by the model's configuration; None: it has none, or all."""
    model = config.model
    return getattr(model, "mbstd_group", None) if getattr(model, "mbstd_channels", 1) else None


def check_group_size(config: TrainConfig, world_size: int) -> None:
    """`check_groups` by the model's configuration, before there is a D.

    Raises:
        ValueError: when a group would be split.
    """
    group = _group_size(config)
    if group is not None:
        _check_group(config, world_size, "D", group)


def check_groups(config: TrainConfig, D: nn.Module, world_size: int) -> None:
    """Checks that no minibatch-stddev group of D crosses ranks or micro-batches.

    Sample i of N is in group i mod (N / G), see `fastgan.ops.minibatch_stddev`. Rows of one
    micro-batch have equal i mod (W·A), so that its groups are whole groups of the batch if G
    divides its rows. Checks fastgan's own module only.

    Raises:
        ValueError: when a group would be split, which would change the result.
    """
    for name, module in D.named_modules():
        if isinstance(module, MinibatchStddev):
            _check_group(config, world_size, f"D.{name}", module.group_size)


def _check_group(config: TrainConfig, world_size: int, name: str, group_size: int | None) -> None:
    share = config.batch // world_size
    rows = share if config.batch_gpu is None else min(share, config.batch_gpu)
    whole = largest_group(config.batch, group_size)
    if largest_group(rows, group_size) != whole:
        what = "batch_gpu" if rows < share else "batch"
        raise ValueError(
            f"{what}: {name} compares groups of {whole} samples (group_size={group_size}, batch "
            f"{config.batch}), but a process computes {rows} samples at once, which is no multiple "
            f"of {whole}: the split would change the result; choose a multiple "
            f"(--{what.replace('_', '-')}), or another mbstd_group (--mbstd-group)"
        )
