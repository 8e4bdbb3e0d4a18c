# SPDX-License-Identifier: Apache-2.0
"""`Contents`: all that a checkpoint holds of a `TrainState`, copied at one moment or written back.

contents = stage(state)        # between two steps: a copy in host memory
fill(state, contents.tensors, contents.values)
digest(state)                  # states with equal digests continue alike
"""

import hashlib
import json
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastgan.training.checkpoint import random_state
from fastgan.training.step.fault_record import FaultRecord
from fastgan.training.step.state import TrainState
from fastgan.training.step.state_tensors import counters

__all__ = [
    "Contents",
    "StagingBuffers",
    "all_tensors",
    "broken_tensors",
    "digest",
    "environment",
    "fill",
    "stage",
]

_NOT_OF_THE_RUN = ("elapsed_sec",)  # differs between two runs that are the same


@dataclass(frozen=True, eq=False)
class Contents:
    """A state at one moment.

    Args:
        tensors: by name, contiguous, on the CPU; nothing else writes to their memory.
        values: JSON: config, counters, faults, environment; a run adds health.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    @property
    def nimg(self) -> int:
        """Real images shown."""
        return self.values["counters"]["nimg"]

    def digest(self) -> str:
        """SHA-256 over every tensor (name, dtype, shape, bytes), counter and fault record.

        The elapsed time is left out, so that equal runs have equal digests.
        """
        counted = {k: v for k, v in self.values["counters"].items() if k not in _NOT_OF_THE_RUN}
        text = json.dumps([counted, self.values["faults"]], sort_keys=True)
        found = hashlib.sha256(text.encode())
        for name in sorted(self.tensors):
            tensor = self.tensors[name]
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.reshape(-1).view(torch.uint8).numpy())
        return found.hexdigest()


class StagingBuffers:
    """Host memory for `stage`, used again when the contents in it are no longer referenced.

    The first write to new memory takes several times as long as the copy. Page-locked for a GPU.
    """

    def __init__(self) -> None:
        self._free: list[dict[str, Tensor]] = []

    def borrow(self, live: dict[str, Tensor], *, is_pinned: bool) -> dict[str, Tensor]:
        while self._free:
            buffers = self._free.pop()
            if _layout(buffers) == _layout(live):
                return buffers
        return {
            name: torch.empty(t.shape, dtype=t.dtype, pin_memory=is_pinned)
            for name, t in live.items()
        }

    def lend(self, contents: Contents) -> None:
        weakref.finalize(contents, self._free.append, contents.tensors).atexit = False


def stage(state: TrainState, buffers: StagingBuffers | None = None) -> Contents:
    """A copy of everything, in host memory. Waits for the device; call it between two steps."""
    live = all_tensors(state)
    is_cuda = state.device.type == "cuda"
    buffers = StagingBuffers() if buffers is None else buffers
    tensors = buffers.borrow(live, is_pinned=is_cuda)
    for name, tensor in live.items():
        tensors[name].copy_(tensor.detach(), non_blocking=True)
    if is_cuda:
        torch.cuda.synchronize(state.device)
    contents = Contents(
        tensors,
        {
            "config": state.config.to_dict(),
            "counters": counters(state),
            "faults": state.faults.to_dict(),
            "environment": environment(state),
        },
    )
    buffers.lend(contents)
    return contents


def fill(state: TrainState, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Sets everything; the optimisers are reset first.

    Args:
        state: is written to.
        tensors: by name; only "rng.cuda" may be missing, and then that generator stays as it is.
        values: with counters and faults.

    Raises:
        KeyError: when a name is missing.
    """
    state.g_optimizer.reset()
    state.d_optimizer.reset()
    with torch.no_grad():
        for name, tensor in state.saved_tensors().items():
            tensor.copy_(tensors[name])
    for name in counters(state):
        setattr(state, name, values["counters"][name])
    state.faults = FaultRecord(**values["faults"])
    random_state.restore(tensors, state.device)


def digest(state: TrainState) -> str:
    """A hash of the whole state: states with equal digests continue alike.

    Args:
        state: between two steps; the random generators are part of it.

    Returns:
        64 hexadecimal digits, see `Contents.digest`.
    """
    return stage(state).digest()


def broken_tensors(state: TrainState) -> list[str]:
    """Names of the state's tensors that hold a NaN or an infinity. One wait for the device."""
    named = [
        (entry.name, entry.tensor.detach().isfinite().all())
        for entry in state.tensors()
        if entry.is_saved and entry.tensor.is_floating_point() and not entry.may_be_nan
    ]
    flags = torch.stack([is_finite for _, is_finite in named]).tolist()
    return [name for (name, _), is_finite in zip(named, flags, strict=True) if not is_finite]


def environment(state: TrainState) -> dict[str, Any]:
    """What the last bit depends on beside the state and the data.

    It is torch's version, its thread count, the kind of device, and the number of ranks.
    """
    return {
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "device": state.device.type,
        "ranks": state.context.world_size,
    }


def all_tensors(state: TrainState) -> dict[str, Tensor]:
    """The tensors of the state and of the random generators."""
    return state.saved_tensors() | random_state.read(state.device)


def _layout(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: (t.shape, t.dtype) for name, t in tensors.items()}
