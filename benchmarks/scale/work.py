"""Counting the work of code that runs on fake tensors: one entry for each op that would launch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from fastgan.ops import use_winograd

# Memory is named, not touched. Views are known by their schema.
_FREE = {
    "aten::alias", "aten::detach", "aten::empty", "aten::empty_like", "aten::empty_strided",
    "aten::lift_fresh", "aten::new_empty", "aten::new_empty_strided", "aten::_unsafe_view",
    "aten::_reshape_alias", "aten::promote_types", "prim::device",
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """One op. `flops` are those of convolutions and matrix products (a multiply-add is 2, counted
    directly whatever the algorithm); `moved` bytes: each tensor argument read once, each result
    written once. `dtype` is that of the first floating-point tensor."""

    op: str
    dtype: torch.dtype
    flops: int
    moved: int


class Counter(TorchDispatchMode):
    """Appends a `Work` to `work` for every op under it that is no view and no allocation."""

    def __init__(self) -> None:
        super().__init__()
        self.work: list[Work] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func._schema.name
        if func.is_view or name in _FREE:
            return out
        read = {id(t): t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        written = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        tensors = [*read.values(), *written]
        count = flop_registry.get(func._overloadpacket)
        floating = [t.dtype for t in tensors if t.is_floating_point()]
        self.work.append(
            Work(
                op=name,
                dtype=floating[0] if floating else torch.float32,
                flops=0 if count is None else int(count(*args, **kwargs, out_val=out)),
                moved=sum(touched_bytes(t) for t in tensors),
            )
        )
        return out


def touched_bytes(t: Tensor) -> int:
    """Bytes of the elements that exist: an expanded dimension is one."""
    elements = 1
    for size, stride in zip(t.shape, t.stride(), strict=True):
        elements *= 1 if stride == 0 and size > 0 else size
    return elements * t.element_size()


@contextmanager
def fakes(*networks: nn.Module) -> Iterator[None]:
    """Tensors made inside have shapes and no values, and the networks' are such from now on.

    Convolutions are what they are on a GPU: one op each, never Winograd's on a CPU.
    """
    mode = FakeTensorMode()
    for network in networks:
        for module in network.modules():
            for name, p in module.named_parameters(recurse=False):
                module._parameters[name] = nn.Parameter(mode.from_tensor(p.detach()))
            for name, buffer in module.named_buffers(recurse=False):
                module._buffers[name] = mode.from_tensor(buffer)
    with use_winograd("0"), mode:
        yield
