"""A batch of real samples, and how it is split over ranks and micro-batches.

Rank r of W has samples r, r + W, …; micro-batch a of A takes every A-th of those, from the a-th
on: row l of it is sample (r + W·a) + W·A·l of the batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from fastgan.nn import MinibatchStddev
from fastgan.ops.minibatch_stddev import largest_group
from fastgan.training.config.run import TrainConfig

__all__ = [
    "Batch",
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
        x: [N, ...]: images [N, C, H, W] in about [-1, 1], or samples of any other shape.
        c: their condition [N, c_dim], or None where c_dim is 0.
    """

    x: Tensor
    c: Tensor | None = None


def rows_of_rank(x: Tensor, rank: int, world_size: int) -> Tensor:
    """The rows [N / world_size, ...] of a whole batch [N, ...] that belong to `rank`."""
    return x if world_size == 1 else x[rank::world_size].contiguous()


def num_micro_batches(n: int, at_once: int | None) -> int:
    """A: how many micro-batches of at most `at_once` rows (None: all) n rows are split into."""
    return 1 if at_once is None else -(-n // at_once)


def micro_batches(batch: Batch, at_once: int | None) -> Iterator[tuple[Batch, float]]:
    """Micro-batches of at most `at_once` samples (None: all), each with its share of the batch.

    Micro-batch a of A takes every A-th sample from the a-th on, so that no minibatch-stddev group
    is split (`check_groups`). Real sample i and the fake sample that it is paired with are in the
    same micro-batch.
    """
    n = batch.x.shape[0]
    count = num_micro_batches(n, at_once)
    if count == 1:
        yield batch, 1.0
        return
    for a in range(count):
        x = batch.x[a::count].contiguous()
        c = None if batch.c is None else batch.c[a::count].contiguous()
        yield Batch(x=x, c=c), x.shape[0] / n


def check_split(config: TrainConfig, world_size: int) -> None:
    """Checks that `config.batch` can be split equally over `world_size` ranks.

    Raises:
        ValueError: when batch is no multiple of world_size, when batch_gpu does not divide a rank's
            share, or when pl_batch_shrink does not divide it for a lazy path-length step.
    """
    batch, at_once = config.batch, config.batch_gpu
    if batch % world_size:
        raise ValueError(
            f"batch: expected a multiple of the {world_size} processes, got {batch}; the nearest "
            f"that fits is {batch // world_size * world_size or world_size}"
        )
    share = batch // world_size
    if at_once is not None and share % at_once:
        raise ValueError(
            f"batch_gpu: expected a divisor of the {share} samples of each process (batch {batch} "
            f"over {world_size} processes), got {at_once}; leave it out (--batch-gpu) to compute "
            "all of them at once"
        )
    is_shrunk = config.pl_weight > 0 and config.g_reg_interval > 1
    shrink = config.pl_batch_shrink
    if is_shrunk and world_size > 1 and share % shrink:
        raise ValueError(
            f"batch: expected a multiple of {shrink * world_size}, got {batch}; a lazy path-length "
            f"step uses 1/{shrink} of each process's {share} samples"
        )


def check_groups(config: TrainConfig, D: nn.Module, world_size: int) -> None:
    """Checks that no minibatch-stddev group of D crosses ranks or micro-batches.

    Sample i of N is in group i mod (N / G), see `fastgan.ops.minibatch_stddev`. Rows of one
    micro-batch have equal i mod (W·A), so that its groups are whole groups of the batch if G
    divides its rows. Checks fastgan's own module only.

    Raises:
        ValueError: when a group would be split, which would change the result.
    """
    share = config.batch // world_size
    rows = share if config.batch_gpu is None else min(share, config.batch_gpu)
    for name, module in D.named_modules():
        if not isinstance(module, MinibatchStddev):
            continue
        whole = largest_group(config.batch, module.group_size)
        if largest_group(rows, module.group_size) != whole:
            what = "batch_gpu" if rows < share else "batch"
            raise ValueError(
                f"{what}: D.{name} compares groups of {whole} samples (group_size="
                f"{module.group_size}, batch {config.batch}), but a process computes {rows} "
                f"samples at once, which is no multiple of {whole}: the split would change the "
                f"result; choose a multiple (--{what.replace('_', '-')}), or another mbstd_group "
                "(--mbstd-group)"
            )
