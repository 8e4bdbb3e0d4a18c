# SPDX-License-Identifier: Apache-2.0
"""Copies of host tensors to a device; on CUDA they run beside what the device computes.

A copy on the current stream begins when the GPU has computed all that was queued before it, so that
a batch read ahead would still be copied between two steps. Here each copy is queued on a stream of
its own, from pinned memory, and two rules keep the order:

    the stream that reads waits for an event after the copy, on the device: the host waits for
        nothing
    the destination is memory of the copying stream, and the allocator is told which stream reads
        it (`record_stream`): no later copy is written there before that stream has read it

A captured step reads none of this memory: it reads a batch of its own, which is filled on the
current stream (`fastgan.training.step.capture.PhaseRunner.begin_step`).
"""

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["DeviceCopies", "Sent"]


class Sent(NamedTuple):
    """Tensors whose copies have been queued.

    Attributes:
        tensors: on the device.
        copied: the event after the copies; None: nothing is to be waited for.
    """

    tensors: tuple[Tensor, ...]
    copied: torch.cuda.Event | None


class DeviceCopies:
    """Copies to one device.

    Args:
        device: of the copies.

    Example:
        copies = DeviceCopies(torch.device("cuda"))
        sent = copies.send(x, c)  # in any thread
        x, c = copies.receive(sent)  # where they are used
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def send(self, *tensors: Tensor) -> Sent:
        """Queues the copies of host tensors. May be called in any thread.

        Args:
            *tensors: on the host, of any shape; written by nobody until they are received.

        Returns:
            What `receive` takes.
        """
        if self._stream is None:
            return Sent(tuple(t.to(self._device) for t in tensors), None)
        pinned = [t.pin_memory() for t in tensors]
        with torch.cuda.stream(self._stream):
            copies = tuple(t.to(self._device, non_blocking=True) for t in pinned)
            return Sent(copies, self._stream.record_event())

    def receive(self, sent: Sent) -> tuple[Tensor, ...]:
        """The copies, for work on the current stream of this thread.

        Args:
            sent: of `send`.

        Returns:
            The tensors on the device, in the order of `send`.
        """
        if sent.copied is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(sent.copied)
            for t in sent.tensors:
                t.record_stream(current)
        return sent.tensors
