# SPDX-License-Identifier: Apache-2.0
"""CUDA streams for a CPU, which record who copied and who reads, and raise where no order is kept.

Each stream counts its work. An event takes over what its stream knows, and a stream that waits for
it knows that too. A tensor that was copied "to CUDA" may be read by a stream only where it knows
the copy; and when its memory is given back, the allocator must have been told of every stream that
read it, because the next copy on its own stream would be written there.
"""

import contextlib
import threading
import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Race(AssertionError):
    pass


class Event:
    def __init__(self, known):
        self.known = known


class Stream:
    def __init__(self, name, device=None):
        self.name, self.device, self.known = name, device, {name: 0}

    def record_event(self):
        return Event(dict(self.known))

    def wait_event(self, event):
        for name, count in event.known.items():
            self.known[name] = max(self.known.get(name, 0), count)


class Memory:
    """Of one tensor on the device: the stream that wrote it, those that read, those declared."""

    def __init__(self, tensor, stream, given_back):
        self.writer, self.at = stream, stream.known[stream.name]
        self.readers, self.declared = {stream.name}, {stream.name}
        self.thread = threading.current_thread()
        self.end = weakref.finalize(tensor, given_back, self)


class RecordedStreams(TorchDispatchMode):
    """Inside, operators of this thread read on its current stream.

    Attributes:
        memories: of all copies, in their order.
        races: what was found when memory was given back, where nothing can be raised.
    """

    def __init__(self, monkeypatch):
        super().__init__()
        self.memories, self.races, self._of = [], [], {}
        self._local = threading.local()
        self._lock = threading.Lock()
        self._default = Stream("computing")
        self._to = torch.Tensor.to
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("copying", device))
        monkeypatch.setattr(torch.cuda, "stream", self._entered)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: self.current())
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: self._pin(t))
        monkeypatch.setattr(torch.Tensor, "to", lambda t, *a, **k: self._copied(t, *a, **k))
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda t, s: self._declare(t, s))

    def current(self):
        return getattr(self._local, "stream", self._default)

    @contextlib.contextmanager
    def _entered(self, stream):
        before, self._local.stream = self.current(), stream
        yield
        self._local.stream = before

    def _pin(self, t):
        pinned = t.clone()
        pinned.is_pinned_here = True
        return pinned

    def _copied(self, t, device, *args, non_blocking=False, **kwargs):
        if not isinstance(device, torch.device) or device.type != "cuda":
            return self._to(t, device, *args, non_blocking=non_blocking, **kwargs)
        assert non_blocking, "the host waits for this copy"
        assert hasattr(t, "is_pinned_here"), "the host waits for a copy that is not pinned"
        stream, copy = self.current(), t.clone()
        with self._lock:
            stream.known[stream.name] += 1
            memory = Memory(copy, stream, self._given_back)
            self._of[copy.untyped_storage()._cdata] = memory
            self.memories.append(memory)
        return copy

    def _declare(self, t, stream):
        self._of[t.untyped_storage()._cdata].declared.add(stream.name)

    def _given_back(self, memory):
        for name in memory.readers - memory.declared:
            self.races.append(f"memory is given back while {name} still reads it")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        stream = self.current()
        for t in tree_leaves((args, kwargs)):
            memory = self._memory(t)
            if memory is not None:
                if stream.known.get(memory.writer.name, -1) < memory.at:
                    raise Race(f"{func} on {stream.name} does not wait for {memory.writer.name}")
                memory.readers.add(stream.name)
        return func(*args, **(kwargs or {}))

    def _memory(self, t):
        if not isinstance(t, torch.Tensor):
            return None
        memory = self._of.get(t.untyped_storage()._cdata)
        return memory if memory is not None and memory.end.alive else None
