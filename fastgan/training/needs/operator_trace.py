# SPDX-License-Identifier: Apache-2.0
"""`OperatorTrace`: the operators that run inside, their work, and the memory that lives."""

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fastgan.training.needs.flops import Flops, flops_of

__all__ = ["BLOCK", "OperatorTrace", "Work"]

BLOCK = 512  # bytes; torch's CUDA allocator gives whole blocks of them

_OVERWRITES = ("copy_", "fill_", "zero_", "normal_", "uniform_", "random_", "bernoulli_")
_NO_KERNEL = (
    "empty",
    "new_empty",
    "empty_like",
    "empty_strided",
    "new_empty_strided",
    "lift_fresh",
)


class Work(NamedTuple):
    """What one call of an operator reads, writes and computes.

    Attributes:
        bytes: read and written.
        matrix: floating-point operations of convolutions and matrix products.
        filter: those of resampling filters.
        is_16_bit: whether its first floating-point argument has 16 bits.
    """

    bytes: int
    matrix: int
    filter: int
    is_16_bit: bool


class OperatorTrace(TorchDispatchMode):
    """Records all operators that run inside, on tensors of any device, 'meta' included.

    Memory counts from a tensor's first sight to the release of its storage, in blocks of
    `BLOCK` bytes, so that what autograd keeps for a backward pass counts as long as it is kept. An
    operator's temporaries, which it allocates and releases itself, are not seen.

    Args:
        existing: tensors that live before and after: a state's.

    Attributes:
        work: `Work` → how many operators have it.
        calls: operator's name → how often it ran.
        flops: of all operators.
        bytes: that all operators read and write.
        existing_bytes: of `existing`.
        live: bytes that live now, without `existing`.
        peak: the most bytes that lived at once, without `existing`.
        peak_by_operator: operator's name → bytes of its results at the peak.
        largest_convolution: bytes of the arguments and the result of the largest one.
    """

    def __init__(self, existing: Iterable[Tensor] = ()):
        super().__init__()
        self.work: Counter[Work] = Counter()
        self.calls: Counter[str] = Counter()
        self.flops = Flops()
        self.bytes = 0
        self.live = self.peak = self.largest_convolution = 0
        self.peak_by_operator: dict[str, int] = {}
        # held, so that no address is another storage's meanwhile
        self._existing = {s._cdata: s for s in (t.untyped_storage() for t in existing)}
        self.existing_bytes = sum(_blocks(s.nbytes()) for s in self._existing.values())
        self._storages: dict[int, weakref.ref] = {}
        self._by_operator: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.namespace in ("prim", "profiler"):
            return out
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        outputs = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        if not func.is_view:
            self._count(func, args, kwargs, out, inputs, outputs)
        name = func._overloadpacket.__name__
        for tensor in outputs:
            self._see(tensor, name)
        if self.live > self.peak:
            self.peak, self.peak_by_operator = self.live, dict(self._by_operator)
        return out

    def _count(
        self, func: Any, args: Any, kwargs: Any, out: Any, inputs: list[Tensor],
        outputs: list[Tensor],
    ) -> None:  # fmt: skip
        name = func._overloadpacket.__name__
        if name in _NO_KERNEL:
            return
        flops = flops_of(func, args, kwargs, out)
        moved = sum(_size(t) for t in inputs)
        if name in _OVERWRITES:
            moved -= _size(inputs[0])
        seen = {t.untyped_storage()._cdata for t in inputs}
        moved += sum(_size(t) for t in outputs if t.untyped_storage()._cdata not in seen)
        for argument, value in zip(func._schema.arguments, args, strict=False):
            alias = argument.alias_info
            if alias is not None and alias.is_write and isinstance(value, Tensor):
                moved += _size(value)
        floats = [t.dtype for t in inputs if t.is_floating_point()]
        is_16_bit = bool(floats) and floats[0].itemsize == 2
        self.work[Work(moved, flops.matrix, flops.filter, is_16_bit)] += 1
        self.calls[f"{func.namespace}.{name}"] += 1
        self.flops = Flops(self.flops.matrix + flops.matrix, self.flops.filter + flops.filter)
        self.bytes += moved
        if "convolution" in name:
            self.largest_convolution = max(self.largest_convolution, moved)

    def _see(self, tensor: Tensor, name: str) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._existing or key in self._storages:
            return
        size = _blocks(storage.nbytes())

        def release(_: Any) -> None:
            del self._storages[key]
            self.live -= size
            self._by_operator[name] -= size

        self._storages[key] = weakref.ref(storage, release)
        self.live += size
        self._by_operator[name] += size


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _size(tensor: Tensor) -> int:
    """Bytes of memory behind a tensor: those of an expanded one once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
