# SPDX-License-Identifier: Apache-2.0
"""`GradientExchange`: the mean of a flat gradient over ranks, also in parts in a backward pass.

With one bucket (the default) the whole flat gradient is averaged by one all_reduce after the last
backward pass of a phase. With more, the gradient is cut into contiguous buckets of about equal
size, from the last parameter to the first, as a backward pass reaches them. The last backward pass
of a phase starts the all_reduce of a bucket as soon as no more gradient can come into it:

    before it, the graph of the loss is walked, and the parameters that it reaches are counted per
    bucket; what it does not reach (the mapping network's unused outputs, an output that D's
    penalty does not depend on) is not waited for
    a hook on each of their AccumulateGrad nodes counts down, also where the gradient is undefined

Deadlocks: every rank starts the same all_reduces in the same order, bucket after bucket and each
exactly once per phase, whatever its own graph reaches: a bucket that is complete early waits for
those before it. No hook waits for anything. On CUDA the all_reduce runs on NCCL's own stream, which
waits for the stream of the backward pass, and the stream of the phase waits for it in `finish`; so
a CUDA graph contains both. All of a backward pass must run on one stream, as in the phases here.

With dtype bfloat16 each rank rounds its gradient to bfloat16, the all_reduce averages in bfloat16
(`ReduceOp.AVG`, or the sum divided by the number of ranks), and the mean becomes float32 again for
the optimiser. Each rounding changes a number by 2^-8 of it at most. bfloat16 has float32's range,
so nothing is scaled. The scalars that travel with a gradient stay float32, in an all_reduce of
their own.

Validation: on CPUs with gloo. NCCL has not run it, and no GPU has shown what the overlap gains.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from fastgan.training.config.step import StepConfig
from fastgan.training.optim.flat_parameters import SCALARS, FlatParameters

__all__ = ["GradientExchange", "exchange_note"]


def exchange_note(config: StepConfig, world_size: int) -> str:
    """A line for the log: how the ranks of a run exchange gradients."""
    if world_size == 1:
        return "gradients: one process, nothing is exchanged"
    count = config.exchange_buckets
    when = "at the end of a phase" if count == 1 else f"in {count} parts during the backward pass"
    dtype = "bfloat16" if config.exchange_dtype == "bf16" else "their own dtype"
    return f"gradients: {world_size} processes exchange them {when}, in {dtype}"


class MeanReducer(Protocol):
    """What `GradientExchange` needs of `fastgan.training.distributed.ranks.Ranks`."""

    def all_reduce_mean_(self, tensor: Tensor) -> None:
        """Replaces a tensor by its mean over the ranks."""

    def start_all_reduce_mean_(self, tensor: Tensor) -> Callable[[], None]:
        """Starts that; the tensor holds the mean after a call of what is returned."""


@dataclass(eq=False)
class _Bucket:
    """A part of a flat gradient: the gradients of some parameters, and what follows them."""

    gradient: Tensor
    names: list[str]
    parameters: list[nn.Parameter]
    waiting: int = 0
    is_started: bool = False


class GradientExchange:
    """Averages the flat gradients of a state over the ranks, at the end of a phase or during it.

    Args:
        ranks: of this run.
        buckets: the number of parts; a network with fewer parameters has fewer. 1: one all_reduce
            at the end.
        dtype: in which gradients are exchanged; None: their own.

    Example:
        exchange = GradientExchange(ranks, buckets=4)
        exchange.backward(loss, optimizer.flat)
        exchange.finish(optimizer.flat.gradients_and_scalars)
    """

    def __init__(self, ranks: MeanReducer, *, buckets: int = 1, dtype: torch.dtype | None = None):
        self._ranks, self._count, self._dtype = ranks, buckets, dtype
        self._sent: dict[int, Tensor] = {}  # in `dtype`, by the address of the gradient
        self._running: list[Callable[[], None]] = []

    def backward(self, loss: Tensor, flat: FlatParameters) -> None:
        """The last backward pass of a phase; starts the all_reduce of every bucket.

        Args:
            loss: [], whose gradients are added to those of the passes before.
            flat: of the network that the phase trains; its scalars are complete.

        Raises:
            RuntimeError: when a parameter gets a gradient after its bucket was started.
        """
        buckets = _split(flat, self._count, has_scalars=self._dtype is None)
        place = {id(p): bucket for bucket in buckets for p in bucket.parameters}
        self._running.clear()
        if self._dtype is not None:
            self._start(flat.scalars, None)
        handles = []

        def start_complete() -> None:
            for bucket in buckets:
                if bucket.waiting > 0:
                    return
                if not bucket.is_started:
                    bucket.is_started = True
                    self._start(bucket.gradient, self._dtype)

        def has_ended(bucket: _Bucket, *gradients: object) -> None:
            bucket.waiting -= 1
            start_complete()

        try:
            for node in _leaves(loss):
                bucket = place.get(id(node.variable))
                if bucket is not None:
                    bucket.waiting += 1
                    handles.append(node.register_hook(partial(has_ended, bucket)))
            for bucket in buckets:
                for name, p in zip(bucket.names, bucket.parameters, strict=True):
                    hook = partial(_refuse_late, bucket, name)
                    handles.append(p.register_post_accumulate_grad_hook(hook))
            start_complete()
            loss.backward()
        except BaseException:
            self._running.clear()
            raise
        finally:
            for handle in handles:
                handle.remove()

    def finish(self, gradients_and_scalars: Tensor) -> None:
        """Waits for what `backward` started, or averages the whole gradient where it was not used.

        Args:
            gradients_and_scalars: of the `FlatParameters`; replaced in place by its mean.
        """
        if not self._running:
            if self._dtype is None:
                self._ranks.all_reduce_mean_(gradients_and_scalars)
                return
            self._start(gradients_and_scalars[-SCALARS:], None)
            self._start(gradients_and_scalars[:-SCALARS], self._dtype)
        for finish in self._running:
            finish()
        self._running.clear()

    def _start(self, part: Tensor, dtype: torch.dtype | None) -> None:
        if dtype is None:
            self._running.append(self._ranks.start_all_reduce_mean_(part))
            return
        sent = self._sent.get(part.data_ptr())
        if sent is None or sent.shape != part.shape:
            sent = self._sent[part.data_ptr()] = torch.empty_like(part, dtype=dtype)
        sent.copy_(part)
        finish = self._ranks.start_all_reduce_mean_(sent)

        def finish_and_cast() -> None:
            finish()
            part.copy_(sent)

        self._running.append(finish_and_cast)


def _split(flat: FlatParameters, count: int, *, has_scalars: bool) -> list[_Bucket]:
    """At most `count` buckets that cover the flat gradient, from its end to its beginning."""
    whole = flat.gradients_and_scalars if has_scalars else flat.gradients
    end, first = whole.numel(), flat.gradients.storage_offset()
    least = -(-flat.gradients.numel() // count)
    buckets, names, parameters = [], [], []
    for name, p in zip(reversed(flat.names), reversed(flat.parameters), strict=True):
        names.append(name)
        parameters.append(p)
        start = p.grad.storage_offset() - first
        is_full = end - start >= least and len(buckets) + 1 < count
        if is_full or start == 0:
            buckets.append(_Bucket(whole[start:end], names, parameters))
            end, names, parameters = start, [], []
    return buckets


def _leaves(loss: Tensor) -> Iterator[Node]:
    """The AccumulateGrad nodes that the backward pass of `loss` runs, each once."""
    seen: set[Node] = set()
    stack: list[Node | None] = [loss.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node
        stack.extend(following for following, _ in node.next_functions)


def _refuse_late(bucket: _Bucket, name: str, p: Tensor) -> None:
    if bucket.is_started:
        raise RuntimeError(
            f"exchange_buckets: {name} got a gradient after its bucket was exchanged, from a "
            "backward pass inside another (torch.utils.checkpoint with use_reentrant=True); set "
            "exchange_buckets=1, or use_reentrant=False"
        )
