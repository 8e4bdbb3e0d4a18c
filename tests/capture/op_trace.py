# SPDX-License-Identifier: Apache-2.0
"""Records every op of one run of a phase, and what about it a CUDA graph could not take.

Works under FakeTensorMode on fake 'cuda' tensors: shapes, dtypes and devices are computed, values
are not, so whatever asks for a value is found.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import torch
from source_lines import source_line
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
)
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

__all__ = ["Finding", "OpTrace", "PhaseStopped", "TracedOp"]

# prim asks for a device or a layout; profiler marks the optimiser's step
_NO_WORK = ("prim", "profiler")


@dataclass(frozen=True)
class Finding:
    """One reason against capture.

    subject: the op, or the path of what was changed; the same subject of a kind at a source is one
    finding. source: `file:line: text`, "" where no line can be named.
    """

    kind: str
    subject: str
    message: str = field(compare=False)
    source: str = ""

    def __str__(self) -> str:
        where = f" [{self.source}]" if self.source else ""
        return f"{self.kind}: {self.subject} {self.message}{where}"


@dataclass(frozen=True)
class TracedOp:
    """tensors: (shape, stride, dtype, device, whose memory) of each tensor argument; the memory is
    a path such as `state.pl_mean`, or "phase" for a tensor that the phase itself has made."""

    name: str
    tensors: tuple[tuple[Any, ...], ...]
    scalars: tuple[str, ...]
    source: str


class PhaseStopped(RuntimeError):
    """Raised into the phase where it asked for a value that only the device has."""


class OpTrace(TorchDispatchMode):
    """ops and findings of the code run inside.

    owners: path by storage (`Held.names`) of what may be read; strangers: the same for memory that
    the phase may write but must not read, for a better message.
    """

    def __init__(self, owners: Mapping[int, str], strangers: Mapping[int, str]) -> None:
        super().__init__()
        self.ops: list[TracedOp] = []
        self.findings: list[Finding] = []
        self._owners = dict(owners)
        self._strangers = strangers
        self._makers: dict[int, tuple[str, str]] = {}
        self._alive: list[torch.UntypedStorage] = []  # so that no address is used twice
        self._last_line = ""
        self._host_rng = _host_rng()
        self._seed = torch.default_generator.initial_seed()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.namespace in _NO_WORK:
            return func(*args, **kwargs)
        name, source = str(func), source_line()
        leaves = tree_leaves((args, kwargs))
        inputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        line = source.partition(" (in ")[0]  # without the autograd node
        if line != self._last_line:
            self.check_host(source)  # once per line: asking for the states takes a while
        self._last_line = line
        memory = [self._memory(name, tensor, source) for tensor in inputs]
        try:
            output = func(*args, **kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            what = (
                "reads a value of the device on the host"
                if isinstance(error, DataDependentOutputException)
                else "makes a shape that depends on values"
            )
            self._find("host sync", name, f"{what}, and waits for the device", source)
            raise PhaseStopped(name) from error
        except AssertionError as error:  # without a rule, torch runs the op itself, on CUDA
            if "not compiled with CUDA" not in str(error):
                raise
            message = (
                "has no shape rule in torch, and cannot be looked into: write the layer with other "
                "operators, or check it on a GPU"
            )
            self._find("not runnable", name, message, source)
            raise PhaseStopped(name) from error
        outputs = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        self._check_devices(name, inputs, outputs, source)
        if any(isinstance(leaf, torch.Generator) for leaf in leaves):
            self._find(
                "explicit generator",
                name,
                "draws from a torch.Generator of its own, whose state a graph does not advance; "
                "use the device's default generator",
                source,
            )
        self._claim(name, outputs, source)
        described = tuple(
            (tuple(t.shape), t.stride(), str(t.dtype), t.device.type, owner)
            for t, owner in zip(inputs, memory, strict=True)
        )
        scalars = tuple(
            repr(leaf) for leaf in leaves if not isinstance(leaf, Tensor | torch.Generator)
        )
        self.ops.append(TracedOp(name, described, scalars, source))
        return output

    def maker(self, storage: torch.UntypedStorage) -> tuple[str, str]:
        """Op and source of the tensor that the phase made on `storage`; ("", "") of no such one."""
        return self._makers.get(storage._cdata, ("", ""))

    def stop(self, subject: str, message: str, source: str) -> NoReturn:
        """Ends the phase with a host sync that is no op."""
        self._find("host sync", subject, message, source)
        raise PhaseStopped(subject)

    def check_host(self, source: str) -> None:
        """Whether numbers were drawn on the host, or torch re-seeded, since the last call."""
        state, seed = _host_rng(), torch.default_generator.initial_seed()
        for library in self._host_rng:
            if state[library] != self._host_rng[library]:
                self._find(
                    "host random numbers",
                    library,
                    "drew before this op; every replay would use the captured draw: draw on the "
                    "device (torch.rand(..., device=))",
                    source,
                )
        if seed != self._seed:
            message = f"gave {seed} before this op; a replay would not"
            self._find("host random numbers", "torch.manual_seed", message, source)
        self._host_rng, self._seed = state, seed

    def _memory(self, name: str, tensor: Tensor, source: str) -> str:
        if not isinstance(tensor, FakeTensor):
            return "host"  # _check_devices reports it
        key = tensor.untyped_storage()._cdata
        if key in self._owners:
            return self._owners[key]
        owner = self._strangers.get(key, "a tensor that nothing given to the lint holds")
        self._find(
            "foreign tensor",
            name,
            f"reads {owner}, {list(tensor.shape)}, which this phase did not make and the state "
            "does not hold: by the next replay its memory may be another's",
            source,
        )
        return owner

    def _check_devices(
        self, name: str, inputs: list[Tensor], outputs: list[Tensor], source: str
    ) -> None:
        before, after = _devices(inputs), _devices(outputs)
        if name.startswith("aten.lift"):
            message = (
                f"makes a tensor of {_what(inputs)}, from host memory; use a number, "
                "torch.full(..., device=), or a buffer made before"
            )
            self._find("host copy", name, message, source)
        elif "cpu" not in before | after:
            return
        elif "cuda" not in before | after:
            self._find("cpu tensor", name, "runs on the CPU inside the phase", source)
        elif "copy" in name:
            message = f"copies {_join(before)} → {_join(after)} inside the phase"
            self._find("host copy", name, message, source)
        else:
            on_cpu = _what(t for t in inputs if t.device.type == "cpu")
            message = f"takes {on_cpu}, whose value would be baked into the graph"
            self._find("cpu tensor", name, message, source)

    def _claim(self, name: str, outputs: Iterable[Tensor], source: str) -> None:
        for tensor in outputs:
            storage = tensor.untyped_storage()
            if storage._cdata not in self._owners:
                self._owners[storage._cdata] = "phase"
                self._makers[storage._cdata] = (name, source)
                self._alive.append(storage)

    def _find(self, kind: str, subject: str, message: str, source: str) -> None:
        finding = Finding(kind, subject, message, source)
        if finding not in self.findings:
            self.findings.append(finding)


def _devices(tensors: Iterable[Tensor]) -> set[str]:
    return {tensor.device.type for tensor in tensors}


def _join(devices: set[str]) -> str:
    return "+".join(sorted(devices)) or "host"


def _what(tensors: Iterable[Tensor]) -> str:
    tensor = next(iter(tensors))
    kind = f"{tensor.device.type} tensor {list(tensor.shape)}"
    if isinstance(tensor, FakeTensor) or tensor.numel() > 4:
        return kind
    with _disable_current_modes():
        return f"{torch._C.TensorBase.tolist(tensor)} ({kind})"


def _host_rng() -> dict[str, Any]:
    _, keys, position, *_ = np.random.get_state()
    return {"random": random.getstate(), "numpy.random": (keys.tobytes(), position)}
