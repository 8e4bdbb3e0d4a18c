"""Makes a `TrainState` one of several that train the same networks, or the only one.

`replicate(state, ranks)` comes after the state was made or loaded and before the first step.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from fastgan import sample_rng
from fastgan.training.distributed.ranks import Ranks
from fastgan.training.step import micro_batch as split
from fastgan.training.step.moving_buffers import MovedTensors, float_buffers
from fastgan.training.step.state import TrainState

__all__ = ["replicate", "shared_tensors"]


def replicate(state: TrainState, ranks: Ranks | None) -> None:
    """Each sample gets random numbers of its own (`fastgan.sample_rng`), and ranks train together.

    With `ranks`, waits for all of them, takes over rank 0's tensors and counters, and sets
    `state.exchange` and `state.average`. ValueError where the batch can't be split so.
    """
    size = 1 if ranks is None else ranks.size
    split.check_split(state.config, size)
    split.check_groups(state.config, state.D, size)
    state.rng_key = torch.zeros([], dtype=torch.int64, device=state.device)
    if ranks is None:
        return
    state.rows = (ranks.rank, size)
    counters = ranks.share("counters", [state.step, state.nimg, state.tick])
    state.step, state.nimg, state.tick = counters
    ranks.connect()
    ranks.broadcast_(tensor for _, tensor in shared_tensors(state))
    ranks.compare(dict(shared_tensors(state)), "before the first step")
    moved = MovedTensors(float_buffers(state.G, state.D))
    sums = [state.stats.totals] if state.ada is None else [state.stats.totals, state.ada.sums]
    state.exchange = ranks.exchange
    state.average = lambda: ranks.average_([*moved(), *sums])
    if ranks.rank > 0:  # what draws from torch itself is no rank's twin
        torch.manual_seed(sample_rng.step_key(state.config.seed + ranks.rank, state.nimg))


def shared_tensors(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    """All that is equal on every rank at a step's border, by name."""
    for field in ("G", "D", "G_ema", "augment", "ada"):
        module = getattr(state, field)
        if module is not None:
            for name, value in module.state_dict(keep_vars=True).items():
                yield f"{field}.{name}", value.detach()
    for field in ("g_optimizer", "d_optimizer"):
        optimizer = getattr(state, field)
        for name in ("exp_avg", "exp_avg_sq", "steps"):
            yield f"{field}.{name}", getattr(optimizer, name)
    yield "pl_mean", state.pl_mean
    for name, value in state.stats.tensors().items():
        yield f"stats.{name}", value
