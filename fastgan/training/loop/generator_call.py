"""Calls of a generator outside of a training step, and their results put together."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from fastgan.training.step.context import takes_condition

__all__ = ["accepts", "call_generator", "concatenated"]


def accepts(G: nn.Module, option: str) -> bool:
    """Whether G's forward has a parameter of this name, such as "truncation_psi"."""
    parameters = inspect.signature(G.forward).parameters
    return option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def call_generator(G: nn.Module, z: Any, c: Any, **options: Any) -> Any:
    """Samples of any G(z), G(z, c) or G(c).

    Args:
        G: the generator.
        z: its latents, a tree of tensors; None for G(c).
        c: conditions, a tree of tensors, or None; left out where G takes none.
        options: are passed where G's forward has a parameter of that name.

    Returns:
        What G returns.
    """
    options = {name: value for name, value in options.items() if accepts(G, name)}
    if z is None:
        return G(c, **options)
    return G(z, c, **options) if takes_condition(G) else G(z, **options)


def concatenated(parts: Sequence[Any]) -> Any:
    """Trees of tensors [n_i, ...] of one structure as one tree of [Σ n_i, ...]."""
    leaves = [tree_flatten(part) for part in parts]
    joined = [torch.cat(tensors) for tensors in zip(*(flat for flat, _ in leaves), strict=True)]
    return tree_unflatten(joined, leaves[0][1])
