# SPDX-License-Identifier: Apache-2.0
"""What every phase does with its losses: backward, the mean over ranks, one optimiser pass."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor

from fastgan import sample_rng
from fastgan.nn._recompute import recomputation
from fastgan.training.optim.ema import copy_buffers
from fastgan.training.optim.flat_optimizer import FlatOptimizer
from fastgan.training.step.batch import Batch, micro_batches, num_micro_batches
from fastgan.training.step.compiled import stream_key
from fastgan.training.step.moving_buffers import BufferMean
from fastgan.training.step.state import StepState

__all__ = ["in_compiled", "making_samples", "update"]

Losses = Callable[[Batch, float], Iterator[Tensor]]  # (micro-batch, its share of the batch)


def update(
    state: StepState,
    phase: int,
    optimizer: FlatOptimizer,
    batch: Batch,
    losses: Losses,
    *,
    num_losses: int = 1,
    at_once: int | None = None,
    averages: bool = False,
    is_last: bool = False,
) -> None:
    """One phase: the gradient over all micro-batches, its mean over ranks, one optimiser pass.

    losses(part, share) yields `num_losses` mean losses of a micro-batch whose sum is its loss; each
    one's backward pass runs before the next loss is computed. Σ share·loss is the whole batch's.
    """
    optimizer.zero_grad()
    at_once = at_once or state.config.batch_gpu
    count = num_micro_batches(batch.n, at_once)
    moving = BufferMean(state.G, state.D, state.objective) if count > 1 else None
    last_backward = state.context.last_backward
    with recomputation(state.context.recomputes), _copies(state):
        for a, (part, share) in enumerate(micro_batches(batch, at_once)):
            with _sample_stream(state, phase, a, count):
                for i, loss in zip(range(num_losses), losses(part, share), strict=True):
                    weighted = loss if share == 1 else loss * share
                    if last_backward is None or (a, i) != (count - 1, num_losses - 1):
                        weighted.backward()
                    else:
                        last_backward(weighted, optimizer.flat)
            if moving is not None:
                moving.add(share)
    if moving is not None:
        moving.end()
    if state.context.all_reduce_gradient is not None:
        state.context.all_reduce_gradient(optimizer.flat.gradients_and_scalars)
    optimizer.step(state.ema_weight if averages else None)
    if optimizer is state.d_optimizer and state.config.d_weight_clip is not None:
        limit = state.config.d_weight_clip
        optimizer.flat.values.clamp_(-limit, limit)
    if is_last:
        if state.context.all_reduce_means is not None:
            state.context.all_reduce_means()
        state.stats.end_step()
        copy_buffers(state.G_ema, state.G)


def in_compiled(state: StepState) -> AbstractContextManager[Any]:
    """The networks compute compiled within a phase without a penalty, where the run wants it."""
    networks = state.context.compiled
    return nullcontext() if networks is None else networks.in_use()


@contextmanager
def making_samples(state: StepState, phase: int) -> Iterator[None]:
    """What `update` surrounds a phase with whose batch is computed at once, for a forward pass
    whose backward pass comes in a later phase."""
    with (
        recomputation(state.context.recomputes),
        _copies(state),
        _sample_stream(state, phase, 0, 1),
    ):
        yield


@contextmanager
def _copies(state: StepState) -> Iterator[None]:
    """The networks compute with copies of their parameters that are made all at once, but where a
    hook, or an exchange during the backward pass, waits for each parameter's own gradient."""
    all_copies = [optimizer.copies for optimizer in (state.g_optimizer, state.d_optimizer)]
    if state.context.last_backward is not None or not all(c.can_be_used() for c in all_copies):
        yield
        return
    with all_copies[0].in_use(), all_copies[1].in_use():
        yield


def _sample_stream(
    state: StepState, phase: int, part: int, count: int
) -> AbstractContextManager[Any]:
    """A context in which row l of a micro-batch draws what its sample of the whole batch draws."""
    context = state.context
    if context.rng_key is None:
        return nullcontext()
    first, stride = context.rank + context.world_size * part, context.world_size * count
    if context.compiled is not None:
        key = stream_key(context.rng_key, phase, first)
        return sample_rng.sample_stream(key, stride=stride)
    return sample_rng.sample_stream(context.rng_key, phase, first=first, stride=stride)
