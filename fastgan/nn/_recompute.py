# SPDX-License-Identifier: Apache-2.0
"""Layers that make a tensor again in the backward pass instead of keeping it for that pass.

A product y = x · w keeps both x and w for its backward pass. Two of them need not stay:

    a tensor that a cheap pass made (x = maps · styles, w = weight · gain, a cast): its parts are
        kept anyway, by the pass that made it, and the backward pass makes it again
    x, where w takes no gradient: nothing reads it, and its layout is kept alone

Making one again costs a pass over memory: within `recomputation(False)` it is kept instead. The
bits are the same, and derivatives of any order go the same way: only the saved tensors are
exchanged (`torch.autograd.graph.saved_tensors_hooks`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch.autograd.graph import saved_tensors_hooks

from fastgan.autocast import autocast_type
from fastgan.ops._backend import reference_is_forced

# Exchanging a saved tensor takes some ten microseconds; 128 KiB are written in that time.
_FEWEST_BYTES = 1 << 17

_makes_again: ContextVar[bool] = ContextVar("fastgan_makes_again", default=True)


@contextmanager
def recomputation(is_on: bool) -> Iterator[None]:
    """Within the block, forward passes of layers keep what a cheap pass made, or (True, as outside)
    leave it to the backward pass to make it again."""
    token = _makes_again.set(is_on)
    try:
        yield
    finally:
        _makes_again.reset(token)


class Made(NamedTuple):
    """``tensor`` = make(*parts), a function of nothing else."""

    tensor: torch.Tensor
    make: Callable[..., torch.Tensor]
    parts: tuple[torch.Tensor, ...]


def made_by(make: Callable[..., torch.Tensor], *parts: torch.Tensor) -> Made:
    """make(*parts), together with how it was made."""
    return Made(make(*parts), make, parts)


COPIES = "_fastgan_copies"  # attribute of a parameter whose copies are made with those of others


def scaled(w: torch.Tensor, gain: float, dtype: torch.dtype) -> Made:
    """w · gain, rounded to ``dtype``; a copy that is there already, or a new one."""
    copy = _copy_of(w, gain, dtype)
    if copy is not None:
        return Made(copy, _itself, (copy,))
    return made_by(lambda w: (w * gain).to(dtype), w)


def cast(w: torch.Tensor, dtype: torch.dtype) -> Made:
    """w, rounded to ``dtype``; a copy that is there already, or a new one."""
    copy = None if w.dtype == dtype else _copy_of(w, 1.0, dtype)
    if copy is not None:
        return Made(copy, _itself, (copy,))
    return made_by(lambda w: w.to(dtype), w)


def _copy_of(w: torch.Tensor, gain: float, dtype: torch.dtype) -> torch.Tensor | None:
    if torch.compiler.is_compiling() or reference_is_forced():
        return None
    copies = getattr(w, COPIES, None)
    if copies is None or torch._C._are_functorch_transforms_active():
        return None
    return copies.find(gain, dtype)


def _itself(copy: torch.Tensor) -> torch.Tensor:
    return copy


def dtype_of_product(x: torch.Tensor) -> torch.dtype:
    """The dtype in which a product of x and a weight is computed: x's, or autocast's."""
    device = autocast_type(x.device)
    if x.dtype != torch.float64 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def recomputing(
    x: torch.Tensor, w: torch.Tensor, made: Sequence[Made] = ()
) -> AbstractContextManager[Any]:
    """Within the block, what the product of x and w need not keep is made again when it is needed.

    ``made``: how x, w or what w is a view of was made. Writing into a part before the backward pass
    raises RuntimeError there, as writing into a saved tensor does.
    """
    if (
        not torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or reference_is_forced()
        or torch._C._are_functorch_transforms_active()
        or not torch._C._autograd._saved_tensors_hooks_is_enabled()
    ):
        return nullcontext()
    made = made if _makes_again.get() else ()
    made = [m for m in made if _is_large(m.tensor) and m.tensor is not m.parts[0]]
    is_unread = x.requires_grad and not w.requires_grad and _is_large(x)
    if not made and not is_unread:
        return nullcontext()
    return _Exchange(x if is_unread else None, made)


class _Exchange(saved_tensors_hooks):
    """Autograd holds the hooks as long as what they packed: they forget x and `made` at the end."""

    def __init__(self, unread: torch.Tensor | None, made: Sequence[Made]) -> None:
        super().__init__(self._pack, _unpack)
        self._unread, self._made = unread, made

    def _pack(self, t: torch.Tensor) -> Callable[[], torch.Tensor]:
        if t is self._unread:
            return _Layout(t)
        for m in self._made:
            if torch._C._is_alias_of(t, m.tensor):
                return _Again(m, t)
        return _Kept(t)

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._unread, self._made = None, ()


def _unpack(saved: Callable[[], torch.Tensor]) -> torch.Tensor:
    return saved()


def _is_large(t: torch.Tensor) -> bool:
    return t.numel() * t.element_size() >= _FEWEST_BYTES


class _Kept:
    """A tensor as it is. Autograd does not watch what hooks return, so its version is kept too."""

    __slots__ = ("tensor", "version")

    def __init__(self, t: torch.Tensor) -> None:
        self.tensor, self.version = t.detach(), t._version

    def __call__(self) -> torch.Tensor:
        if self.tensor._version != self.version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an "
                f"inplace operation: a tensor of shape {tuple(self.tensor.shape)} is at version "
                f"{self.tensor._version}, expected version {self.version}; write to a clone, or "
                "after the backward pass"
            )
        return self.tensor


class _Layout:
    """A tensor that is asked for and never read."""

    __slots__ = ("device", "dtype", "shape", "stride")

    def __init__(self, t: torch.Tensor) -> None:
        self.shape, self.stride, self.dtype, self.device = t.shape, t.stride(), t.dtype, t.device

    def __call__(self) -> torch.Tensor:
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device)


class _Again:
    """A tensor, or a view of it, that is made again of its parts."""

    __slots__ = ("make", "parts", "view")

    def __init__(self, made: Made, t: torch.Tensor) -> None:
        self.make, self.parts = made.make, [_Kept(part) for part in made.parts]
        self.view = None if t is made.tensor else (t.shape, t.stride(), t.storage_offset())

    @torch.no_grad()
    def __call__(self) -> torch.Tensor:
        t = self.make(*(part() for part in self.parts))
        return t if self.view is None else t.as_strided(*self.view)
