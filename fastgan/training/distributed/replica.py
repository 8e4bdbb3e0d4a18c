# SPDX-License-Identifier: Apache-2.0
"""Makes a `TrainState` one of several that train the same networks, or the only one."""

import torch
from torch import Tensor

from fastgan import sample_rng
from fastgan.training.distributed.exchange import GradientExchange
from fastgan.training.distributed.ranks import Ranks
from fastgan.training.step.batch import check_groups, check_split
from fastgan.training.step.moving_buffers import MovedTensors
from fastgan.training.step.state import TrainState

__all__ = ["replicate", "shared_tensors"]


def replicate(state: TrainState, ranks: Ranks | None) -> None:
    """Gives each sample random numbers of its own, and connects the state to those of other ranks.

    Call it after the state was made or loaded, and before the first step. With `ranks` it waits for
    all of them, copies rank 0's tensors and counters, and sets the fields of `state.context` that
    concern several processes.

    Args:
        state: of this rank, `TrainStep.state` too.
        ranks: of this run; None for one process.

    Raises:
        ValueError: when the batch can't be split over so many ranks and micro-batches.
        RankError: when a rank does not arrive in time, or differs after the copy.
    """
    context, world_size = state.context, 1 if ranks is None else ranks.world_size
    check_split(state.config, world_size)
    check_groups(state.config, state.D, world_size)
    context.rng_key = torch.zeros([], dtype=torch.int64, device=state.device)
    context.seed = torch.initial_seed() % 2**31
    if ranks is None:
        return
    ranks.release_before_close(context)
    context.rank, context.world_size = ranks.rank, world_size
    names = [name for name in ("step", "nimg", "tick") if hasattr(state, name)]
    counters = ranks.broadcast_object("counters", [getattr(state, name) for name in names])
    for name, value in zip(names, counters, strict=True):
        setattr(state, name, value)
    context.seed = ranks.broadcast_object("seed", context.seed)
    ranks.connect()
    ranks.broadcast_(shared_tensors(state).values())
    ranks.compare(shared_tensors(state), "before the first step")
    averaged = (entry.tensor for entry in state.tensors() if entry.is_averaged)
    means = MovedTensors(averaged, state.G, state.D, state.objective)
    config = state.config
    dtype = torch.bfloat16 if config.exchange_dtype == "bf16" else None
    exchange = GradientExchange(ranks, buckets=config.exchange_buckets, dtype=dtype)
    context.all_reduce_gradient = exchange.finish
    context.last_backward = exchange.backward if config.exchange_buckets > 1 else None
    context.all_reduce_means = lambda: ranks.all_reduce_means_(means())
    seed = getattr(config, "seed", context.seed)
    if ranks.rank > 0:  # modules that draw from torch's own generator draw other numbers per rank
        torch.manual_seed(sample_rng.step_key(seed + ranks.rank, state.nimg))


def shared_tensors(state: TrainState) -> dict[str, Tensor]:
    """Name → tensor of all that is equal on every rank between two steps."""
    return state.saved_tensors()
