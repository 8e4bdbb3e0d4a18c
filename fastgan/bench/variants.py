# SPDX-License-Identifier: Apache-2.0
"""The variants in which fastgan's networks and steps are computed: native, reference, compile."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from fastgan.ops import use_backend
from fastgan.ops._backend import trace_reference

VARIANTS = ("native", "reference", "compile")


@contextmanager
def computed_as(variant: str) -> Iterator[None]:
    """Calls within the block are computed as `variant`; "compile" needs `compile_parts` first."""
    if variant == "native":
        yield
    elif variant == "reference":
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


def compile_parts(*networks: nn.Module) -> None:
    """Compiles in place the two halves of each network, mapping and synthesis, or all of it.

    Names and parameters stay. Of several networks of one shape the first pays for the compiler.
    """
    for network in networks:
        halves = [getattr(network, name, None) for name in ("mapping", "synthesis")]
        has_halves = all(isinstance(half, nn.Module) for half in halves)
        for part in halves if has_halves else [network]:
            part.compile(dynamic=False)


def as_variant(
    variant: str, run: Callable[[], object], eager: Sequence[nn.Module] = ()
) -> Callable:
    """`run`, computed as `variant`.

    Args:
        variant: one of VARIANTS.
        run: called without arguments.
        eager: networks that stay uncompiled in it, because it takes second derivatives.
    """

    def call():
        with computed_as(variant), uncompiled(*eager):
            return run()

    return call
