# SPDX-License-Identifier: Apache-2.0
"""Trees of tensors: a tensor, or dicts, tuples, lists and registered dataclasses of trees.

Samples, conditions and latents of a training step are trees whose tensors all have N rows. What is
a tree is said by `torch.utils._pytree`. A single tensor takes the short way in every function.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

__all__ = ["FloatingLeaves", "entries_of", "map_floating", "map_tensors", "num_rows", "tensors_of"]

Tree = Any


def tensors_of(tree: Tree) -> list[Tensor]:
    """All tensors of a tree, in its order; of None none."""
    if isinstance(tree, Tensor):
        return [tree]
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def map_tensors(function: Callable[[Tensor], Any], tree: Tree) -> Tree:
    """The tree with function(t) in the place of each tensor t."""
    if isinstance(tree, Tensor):
        return function(tree)
    return tree_map(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, tree)


def map_floating(function: Callable[[Tensor], Any], tree: Tree) -> Tree:
    """`map_tensors` over the floating-point tensors alone."""
    return map_tensors(lambda t: function(t) if t.is_floating_point() else t, tree)


def num_rows(tree: Tree) -> int:
    """N: the first dimension of the first tensor."""
    return (tree if isinstance(tree, Tensor) else tensors_of(tree)[0]).shape[0]


def entries_of(tree: Tree, like: Tree) -> Tree:
    """The part of `tree` that has the structure of `like`: dicts lose their further keys.

    Raises:
        ValueError: when an entry is missing, or the structure is another.
    """
    if isinstance(like, Tensor):
        if not isinstance(tree, Tensor):
            raise ValueError(f"a tensor, got a {type(tree).__name__}")
        return tree
    if isinstance(like, dict):
        if not isinstance(tree, dict):
            raise ValueError(f"a dict, got a {type(tree).__name__}")
        missing = [str(key) for key in like if key not in tree]
        if missing:
            raise ValueError(f"a dict with {', '.join(missing)}, which it has not")
        return {key: entries_of(tree[key], value) for key, value in like.items()}
    if isinstance(like, tuple | list) and isinstance(tree, tuple | list):
        if len(like) != len(tree):
            raise ValueError(f"{len(like)} entries, got {len(tree)}")
        parts = [entries_of(a, b) for a, b in zip(tree, like, strict=True)]
        return parts if isinstance(tree, list) else _as_tuple(tree, parts)
    if type(tree) is not type(like):
        raise ValueError(f"a {type(like).__name__}, got a {type(tree).__name__}")
    return tree


def _as_tuple(like: tuple, parts: list) -> tuple:
    return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)


class FloatingLeaves:
    """The floating-point tensors of a tree, and the way back to a tree with others in their place.

    Attributes:
        tensors: of the tree, in its order.
    """

    def __init__(self, tree: Tree):
        self._is_tensor = isinstance(tree, Tensor)
        self._leaves, self._spec = ([tree], None) if self._is_tensor else tree_flatten(tree)
        self._places = [
            i
            for i, leaf in enumerate(self._leaves)
            if isinstance(leaf, Tensor) and leaf.is_floating_point()
        ]
        self.tensors = [self._leaves[i] for i in self._places]

    def replaced(self, tensors: Any) -> Tree:
        """The tree with `tensors`, as many as `self.tensors`, in their place."""
        if self._is_tensor:
            return tensors[0]
        leaves = list(self._leaves)
        for i, t in zip(self._places, tensors, strict=True):
            leaves[i] = t
        return tree_unflatten(leaves, self._spec)
