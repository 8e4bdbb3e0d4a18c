"""Buffers that a forward pass moves by means over samples (w_avg, batch statistics), when a batch
is cut over micro-batches or processes.

Each part begins where the phase began, and the parts' results are averaged: exact for whatever
moves affinely with the batch mean, as w_avg and running means do. Which buffers move is read from
their version counters, on the host, so that constants are neither copied nor averaged.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["BufferMean", "MovedTensors", "float_buffers"]


def float_buffers(*modules: nn.Module) -> list[Tensor]:
    return [b for module in modules for b in module.buffers() if b.is_floating_point()]


class BufferMean:
    """Over the micro-batches of one phase: made before the first, `add` after each, then `end`."""

    def __init__(self, *modules: nn.Module):
        self._buffers = float_buffers(*modules)
        self._before = [buffer.clone() for buffer in self._buffers]
        self._versions = [buffer._version for buffer in self._buffers]
        self._means: dict[int, Tensor] = {}

    @torch.no_grad()
    def add(self, share: float) -> None:
        """A part was run; puts the buffers back to the beginning."""
        for i, (buffer, before) in enumerate(zip(self._buffers, self._before, strict=True)):
            if buffer._version != self._versions[i]:
                mean = self._means.get(i)
                self._means[i] = buffer * share if mean is None else mean.add_(buffer, alpha=share)
                buffer.copy_(before)
                self._versions[i] = buffer._version

    @torch.no_grad()
    def end(self) -> None:
        for i, mean in self._means.items():
            self._buffers[i].copy_(mean)


class MovedTensors:
    """Those of `tensors` that anything has written to since this was made, once seen for good.

    For good, because a replayed graph moves a buffer without counting.
    """

    def __init__(self, tensors: Iterable[Tensor]):
        self._still = [(tensor, tensor._version) for tensor in tensors]
        self._moved: list[Tensor] = []

    def __call__(self) -> list[Tensor]:
        self._moved += [t for t, version in self._still if t._version != version]
        self._still = [(t, version) for t, version in self._still if t._version == version]
        return self._moved
