# SPDX-License-Identifier: Apache-2.0
"""Means over micro-batches and ranks of buffers that a forward pass updates, such as w_avg.

Each part starts from the buffers that the phase started from, and the parts' results are averaged:
exact for whatever is affine in the batch mean, as w_avg and running means are. Which buffers are
updated is read from their version counters, on the host, so that constants are neither copied nor
averaged. torch's batch and instance norm write their running statistics without raising a counter:
those count as updated wherever their module is in training mode.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

__all__ = ["BufferMean", "MovedTensors", "float_buffers", "running_statistics"]


def float_buffers(*modules: nn.Module) -> list[Tensor]:
    return [b for module in modules for b in module.buffers() if b.is_floating_point()]


def running_statistics(*modules: nn.Module) -> list[Tensor]:
    """The running means and variances that a forward pass of the modules updates now."""
    norms = [m for root in modules for m in root.modules() if isinstance(m, _NormBase)]
    return [
        statistic
        for norm in norms
        if norm.training and norm.track_running_stats
        for statistic in (norm.running_mean, norm.running_var)
        if statistic is not None
    ]


class BufferMean:
    """The mean over the micro-batches of one phase.

    Make it before the first micro-batch, call `add` after each, and `end` after the last.
    """

    def __init__(self, *modules: nn.Module):
        self._buffers = float_buffers(*modules)
        self._before = [buffer.clone() for buffer in self._buffers]
        running = {id(statistic) for statistic in running_statistics(*modules)}
        # -1 is no version: such a buffer counts as updated by every micro-batch.
        self._versions = [-1 if id(b) in running else b._version for b in self._buffers]
        self._means: dict[int, Tensor] = {}

    @torch.no_grad()
    def add(self, share: float) -> None:
        """Adds the buffers of a micro-batch with its share, and restores those of the start."""
        for i, (buffer, before) in enumerate(zip(self._buffers, self._before, strict=True)):
            if buffer._version != self._versions[i]:
                mean = self._means.get(i)
                self._means[i] = buffer * share if mean is None else mean.add_(buffer, alpha=share)
                buffer.copy_(before)
                if self._versions[i] >= 0:
                    self._versions[i] = buffer._version

    @torch.no_grad()
    def end(self) -> None:
        for i, mean in self._means.items():
            self._buffers[i].copy_(mean)


class MovedTensors:
    """Those of `tensors` that were written to since this was made.

    A tensor that was found once stays found, because a replayed graph writes to a buffer without
    raising its version. Those of `running_statistics(*modules)` count as written to.
    """

    def __init__(self, tensors: Iterable[Tensor], *modules: nn.Module):
        tensors = list(tensors)
        running = {id(statistic) for statistic in running_statistics(*modules)}
        self._still = [(t, t._version) for t in tensors if id(t) not in running]
        self._moved: list[Tensor] = [t for t in tensors if id(t) in running]

    def __call__(self) -> list[Tensor]:
        self._moved += [t for t, version in self._still if t._version != version]
        self._still = [(t, version) for t, version in self._still if t._version == version]
        return self._moved
