"""The contents of a `TrainState`: all that a checkpoint holds, taken out at one moment or put in.

contents = stage(state)        # a step's border: a copy in host memory, and nothing else
fill(state, contents.tensors, contents.values)
digest(state)                  # equal digests: equal continuations
"""

import hashlib
import json
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastgan.training.checkpoint import random_state
from fastgan.training.step.fault_record import FaultRecord
from fastgan.training.step.state import TrainState, prime_adam

__all__ = [
    "COUNTERS",
    "Contents",
    "ContentsError",
    "StagingBuffers",
    "all_tensors",
    "broken_tensors",
    "digest",
    "environment",
    "fill",
    "stage",
    "state_tensors",
]

COUNTERS = ("step", "nimg", "tick", "elapsed_sec")
_NOT_OF_THE_RUN = ("elapsed_sec",)  # differs between two runs that are the same
_MAY_BE_NAN = ("ada.r_t",)  # says that there is none yet


class ContentsError(TypeError):
    """A module keeps something in its state_dict that is no tensor."""


@dataclass(frozen=True, eq=False)
class Contents:
    """A state at one moment. tensors: contiguous, on the CPU, sharing memory with nothing that
    changes. values: JSON: config, counters, faults, environment."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    @property
    def nimg(self) -> int:
        return self.values["counters"]["nimg"]

    def digest(self) -> str:
        """SHA-256 over every tensor (name, dtype, shape, bytes), counter and fault record.

        The time that passed is left out: runs that are the same have the same digest.
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
    """Host memory for `stage` that is used again when no one holds the contents in it any more.

    First touching fresh memory takes several times as long as the copy. Page-locked for a GPU.
    """

    def __init__(self) -> None:
        self._free: list[dict[str, Tensor]] = []

    def take(self, live: dict[str, Tensor], *, is_pinned: bool) -> dict[str, Tensor]:
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
    """A copy of everything, in host memory. Waits for the device: call it at a step's border."""
    live = all_tensors(state)
    is_cuda = state.device.type == "cuda"
    buffers = StagingBuffers() if buffers is None else buffers
    tensors = buffers.take(live, is_pinned=is_cuda)
    for name, tensor in live.items():
        tensors[name].copy_(tensor.detach(), non_blocking=True)
    if is_cuda:
        torch.cuda.synchronize(state.device)
    contents = Contents(
        tensors,
        {
            "config": state.config.to_dict(),
            "counters": {name: getattr(state, name) for name in COUNTERS},
            "faults": state.faults.to_dict(),
            "environment": environment(state),
        },
    )
    buffers.lend(contents)
    return contents


def fill(state: TrainState, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Sets everything. The optimisers are cleared first; a name that lacks is a KeyError.

    "rng.cuda" alone may be left out: then that generator stays as it is.
    """
    prime_adam(state.g_optimizer)
    prime_adam(state.d_optimizer)
    with torch.no_grad():
        for name, tensor in state_tensors(state):
            tensor.copy_(tensors[name])
    for name in COUNTERS:
        setattr(state, name, values["counters"][name])
    state.faults = FaultRecord(**values["faults"])
    random_state.restore(tensors, state.device)


def digest(state: TrainState) -> str:
    """64 hexadecimal digits that two states share when they continue alike: `Contents.digest`."""
    return stage(state).digest()


def broken_tensors(state: TrainState) -> list[str]:
    """Names of the state's tensors that hold a NaN or an infinity. One wait for the device."""
    named = [
        (name, tensor.detach().isfinite().all())
        for name, tensor in state_tensors(state)
        if tensor.is_floating_point() and name not in _MAY_BE_NAN
    ]
    flags = torch.stack([is_finite for _, is_finite in named]).tolist()
    return [name for (name, _), is_finite in zip(named, flags, strict=True) if not is_finite]


def environment(state: TrainState) -> dict[str, Any]:
    """What else decides the last bit: torch's version, its thread count, the kind of device, and
    the number of processes that sum up a gradient."""
    return {
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "device": state.device.type,
        "ranks": state.rows[1],
    }


def state_tensors(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state, by the name that it has in the file; writing to it sets it."""
    for field in ("G", "D", "G_ema", "augment", "ada"):
        module = getattr(state, field)
        if module is not None:
            for name, value in module.state_dict().items():
                if not isinstance(value, Tensor):
                    raise ContentsError(
                        f"checkpoint: {field}.{name} is a {type(value).__name__}; a checkpoint "
                        "holds tensors only, make it a buffer"
                    )
                yield f"{field}.{name}", value
    for field, module in (("g_optimizer", state.G), ("d_optimizer", state.D)):
        moments = getattr(state, field).state
        for name, p in module.named_parameters():
            for key, value in moments.get(p, {}).items():
                yield f"{field}.{name}.{key}", value
    yield "pl_mean", state.pl_mean
    for name, value in state.stats.tensors().items():
        yield f"stats.{name}", value
    yield "grid.z", state.grid_z
    if state.grid_c is not None:
        yield "grid.c", state.grid_c


def all_tensors(state: TrainState) -> dict[str, Tensor]:
    """The tensors of the state and of the random generators."""
    return dict(state_tensors(state)) | random_state.read(state.device)


def _layout(tensors: dict[str, Tensor]) -> dict[str, Any]:
    return {name: (t.shape, t.dtype) for name, t in tensors.items()}
