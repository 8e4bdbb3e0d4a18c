"""How a batch is cut over processes and micro-batches, and what can't be cut.

Process r of W has samples r, r + W, …; micro-batch a of A takes every A-th of those, from its a-th
on: row l of it is sample (r + W·a) + W·A·l of the batch.
"""

from torch import Tensor, nn

from fastgan.nn import MinibatchStddev
from fastgan.ops.minibatch_stddev import largest_group
from fastgan.training.config.run import TrainConfig

__all__ = ["check_groups", "check_split", "own_rows", "parts_of"]


def own_rows(x: Tensor, rank: int, ranks: int) -> Tensor:
    """A process's rows of a whole batch [N, ...]."""
    return x if ranks == 1 else x[rank::ranks].contiguous()


def parts_of(n: int, at_once: int | None) -> int:
    """A: how many micro-batches of at most `at_once` rows (None: all) make n rows."""
    return 1 if at_once is None else -(-n // at_once)


def check_split(config: TrainConfig, ranks: int) -> None:
    """ValueError where `config.batch` does not divide into equal parts for so many processes."""
    batch, at_once = config.batch, config.batch_gpu
    if batch % ranks:
        raise ValueError(
            f"batch: expected a multiple of the {ranks} processes, got {batch}; "
            f"{batch // ranks * ranks or ranks} is the nearest below or the least"
        )
    share = batch // ranks
    if at_once is not None and share % at_once:
        raise ValueError(
            f"batch_gpu: expected a divisor of a process's share of {share} samples (batch {batch} "
            f"over {ranks} processes), got {at_once}; leave it out to take the share at once"
        )
    is_halved = config.pl_weight > 0 and config.g_reg_interval > 1
    if is_halved and ranks > 1 and share % 2:
        raise ValueError(
            f"batch: a lazy path-length step takes half a batch, and a process's share of {share} "
            f"samples can't be halved; expected a multiple of {2 * ranks}, got {batch}"
        )


def check_groups(config: TrainConfig, D: nn.Module, ranks: int) -> None:
    """ValueError where a minibatch-stddev group of D would cross processes or micro-batches.

    Sample i of N is in group i mod (N / G), see `fastgan.ops.minibatch_stddev`. Rows of one
    micro-batch have equal i mod (W·A), so that its groups are whole groups of the batch if G
    divides its rows. Checks fastgan's own module only.
    """
    share = config.batch // ranks
    rows = share if config.batch_gpu is None else min(share, config.batch_gpu)
    for name, module in D.named_modules():
        if not isinstance(module, MinibatchStddev):
            continue
        whole = largest_group(config.batch, module.group_size)
        if largest_group(rows, module.group_size) != whole:
            what = "batch_gpu" if rows < share else "batch"
            raise ValueError(
                f"{what}: D.{name} compares groups of {whole} samples (group_size="
                f"{module.group_size}, batch {config.batch}), and the {rows} samples that a process"
                f" holds at once are no multiple of {whole}: the split would change the result; "
                "choose a multiple, or another mbstd_group"
            )
