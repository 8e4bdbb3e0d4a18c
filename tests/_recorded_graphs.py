# SPDX-License-Identifier: Apache-2.0
"""Graphs for a CPU that record a phase's operators, with their tensors, and run them again.

What a phase does in Python happens once, as on a GPU.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fastgan.training.step.capture import PhaseRunner

CPU = torch.device("cpu")


class Recording(TorchDispatchMode):
    """The operators that ran inside; their effect on memory that is older is undone by `undo`."""

    def __init__(self):
        super().__init__()
        self.ops, self.made, self.before = [], {}, {}
        self.rng = torch.get_rng_state()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            for t in tree_leaves((args, kwargs)):
                if isinstance(t, torch.Tensor) and t.untyped_storage()._cdata not in self.made:
                    storage = t.untyped_storage()
                    self.before.setdefault(storage._cdata, (storage, storage.clone()))
        output = func(*args, **kwargs)
        inputs = {
            t.untyped_storage()._cdata
            for t in tree_leaves((args, kwargs))
            if isinstance(t, torch.Tensor)
        }
        outputs = [t for t in tree_leaves(output) if isinstance(t, torch.Tensor)]
        own = [t.untyped_storage()._cdata not in inputs for t in outputs]
        for t, is_own in zip(outputs, own, strict=True):
            if is_own:
                self.made[t.untyped_storage()._cdata] = t.untyped_storage()
        self.ops.append((func, args, kwargs, outputs, own))
        return output

    def undo(self):
        for storage, old in self.before.values():
            storage.copy_(old)
        torch.set_rng_state(self.rng)

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, outputs, own in self.ops:
            again = [t for t in tree_leaves(func(*args, **kwargs)) if isinstance(t, torch.Tensor)]
            for old, new, is_own in zip(outputs, again, own, strict=True):
                if is_own:
                    old.copy_(new)


class RecordedGraphs:
    """`live` has the recordings that were not released; the numbers count calls."""

    def __init__(self):
        self.warmed, self.captured, self.replayed, self.live = 0, 0, 0, []

    def warm_up(self, call):
        self.warmed += 1
        call()

    def capture(self, call):
        self.captured += 1
        recording = Recording()
        self.live.append(recording)
        with recording:
            call()
        recording.undo()

        def replay():
            assert recording in self.live, "replay of a graph that was released"
            self.replayed += 1
            recording.replay()

        return replay

    def release(self):
        self.live.clear()


def with_graphs(state):
    graphs = RecordedGraphs()
    state.context.runner = PhaseRunner("auto", CPU, graphs)
    return graphs
