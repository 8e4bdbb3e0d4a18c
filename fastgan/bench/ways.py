"""The ways in which the networks and steps of fastgan are computed: native, reference, compile."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from fastgan.ops import use_backend
from fastgan.ops._backend import trace_reference

WAYS = ("native", "reference", "compile")


@contextmanager
def way(name: str) -> Iterator[None]:
    """Calls within the block are computed in that way; a compiled one needs `compile_parts` too."""
    if name == "native":
        yield
    elif name == "reference":
        with use_backend("reference"):
            yield
    else:
        with trace_reference(), torch._dynamo.config.patch(recompile_limit=64):
            yield


@contextmanager
def uncompiled(*networks: nn.Module) -> Iterator[None]:
    """Within the block they run as they are: torch.compile has no second derivative."""
    parts = [m for network in networks for m in network.modules()]
    compiled = {part: part._compiled_call_impl for part in parts if part._compiled_call_impl}
    for part in compiled:
        part._compiled_call_impl = None
    try:
        yield
    finally:
        for part, call in compiled.items():
            part._compiled_call_impl = call


def compile_parts(network: nn.Module) -> None:
    """torch.compile in place what is called of a network: its two halves if it has them, else it.

    Names and parameters stay. Of several networks of one shape the first pays for the compiler.
    """
    halves = [getattr(network, name, None) for name in ("mapping", "synthesis")]
    whole = not all(isinstance(half, nn.Module) for half in halves)
    for part in [network] if whole else halves:
        part.compile(dynamic=False)


def in_way(name: str, run: Callable[[], object], eager: Sequence[nn.Module] = ()) -> Callable:
    """`run` in that way, with the networks in `eager` uncompiled (it takes second derivatives)."""

    def call():
        with way(name), uncompiled(*eager):
            return run()

    return call
