# SPDX-License-Identifier: Apache-2.0
"""What the layers of one network make of its parameters in a phase, made once and for all at once.

A layer takes w·gain (equalised learning rate), rounded to the dtype that it computes in, in each of
its forward passes, multiplies the gradient by gain in each backward pass, and autograd adds it to
w's gradient: three launches and more per layer and pass. Within `FlatCopies.in_use` the module has
views in the place of its parameters. A layer finds its copy there (`fastgan.nn._recompute.scaled`).
One node of autograd makes all copies of a dtype and turns their gradients into those of the views;
one adds these to the flat gradient. Both work on lists (torch._foreach), with one kernel for about
a hundred tensors or 20 million elements.

Each use of a copy has an output of the node for itself: the gradients of two uses are added in the
parameter's dtype, not in 16 bits. Which copies layers ask for, and how often in a phase, is found
out when they first do: that time each makes its own. The numbers are the same, bit for bit, but for
the order in which gradients of more than four uses are added up. The gradients of a network live
until the last of them is there, and no AccumulateGrad node runs, so that hooks on parameters do not
either: `can_be_used` says whether one is there.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fastgan.nn._recompute import COPIES
from fastgan.training.optim.flat_parameters import FlatParameters

__all__ = ["FlatCopies"]


# D at real, fake and interpolated samples, and one to spare. With as many from the start, the sums
# do not depend on what earlier phases have asked for.
_FEWEST_USES = 4


@dataclass
class _Wanted:
    """What layers ask for of one parameter in one dtype: its gain, and how often in a phase."""

    gain: float
    uses: int = _FEWEST_USES


Wanted = dict[torch.dtype, dict[int, _Wanted]]  # the inner key is the position of a parameter


class FlatCopies:
    """The copies of one network's trainable parameters.

    Args:
        flat: its parameters and gradients.
    """

    def __init__(self, flat: FlatParameters) -> None:
        self._flat = flat
        self._wanted: Wanted = {}

    def can_be_used(self) -> bool:
        """Whether no parameter has a hook, which would not be called."""
        return not any(
            p._backward_hooks or p._post_accumulate_grad_hooks for p in self._flat.parameters
        )

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Within the block, backward passes included, the module computes with copies."""
        flat = self._flat
        with torch.enable_grad():
            views = _AsTheyAre.apply(flat, *flat.parameters)
        made = _Made(views, self._wanted)
        for position, ((parameters, key), view) in enumerate(zip(flat.owners, views, strict=True)):
            setattr(view, COPIES, _CopiesOfOne(made, position))
            parameters[key] = view
        try:
            yield
        finally:
            for (parameters, key), p in zip(flat.owners, flat.parameters, strict=True):
                parameters[key] = p


class _Made:
    """The copies of one phase, by dtype, each made when a layer first asks for one of them."""

    def __init__(self, views: tuple[Tensor, ...], wanted: Wanted) -> None:
        self._views, self._wanted = views, wanted
        self._copies: dict[torch.dtype, dict[int, list[Tensor]]] = {}
        self._uses: Counter[tuple[torch.dtype, int]] = Counter()

    def find(self, position: int, gain: float, dtype: torch.dtype) -> Tensor | None:
        wanted = self._wanted.setdefault(dtype, {})
        if dtype not in self._copies:
            self._copies[dtype] = self._make(dtype, wanted) if wanted else {}
        mine = wanted.setdefault(position, _Wanted(gain))
        if mine.gain != gain:
            return None
        self._uses[dtype, position] += 1
        uses = self._uses[dtype, position]
        mine.uses = max(mine.uses, uses)
        copies = self._copies[dtype].get(position, [])
        return copies[uses - 1] if uses <= len(copies) else None

    def _make(self, dtype: torch.dtype, wanted: dict[int, _Wanted]) -> dict[int, list[Tensor]]:
        gains, uses = zip(*((row.gain, row.uses) for row in wanted.values()), strict=True)
        views = [self._views[position] for position in wanted]
        with torch.enable_grad():
            outputs = iter(_Scaled.apply(dtype, gains, uses, *views))
        return {p: list(islice(outputs, count)) for p, count in zip(wanted, uses, strict=True)}


class _CopiesOfOne:
    """What a view carries: where a layer asks for copies of it."""

    __slots__ = ("_made", "_position")

    def __init__(self, made: _Made, position: int) -> None:
        self._made, self._position = made, position

    def find(self, gain: float, dtype: torch.dtype) -> Tensor | None:
        """w·gain in dtype, or None where it is not there."""
        return self._made.find(self._position, gain, dtype)


class _AsTheyAre(torch.autograd.Function):
    """The parameters themselves; their gradients are added to the flat one."""

    @staticmethod
    def forward(ctx, flat, *parameters):
        ctx.set_materialize_grads(False)
        ctx.gradients = flat.gradient_views
        return tuple(p.detach() for p in parameters)

    @staticmethod
    @once_differentiable
    def backward(ctx, *found):
        pairs = [(t, g) for t, g in zip(ctx.gradients, found, strict=True) if g is not None]
        if pairs:
            targets, found = zip(*pairs, strict=True)
            torch._foreach_add_(targets, _laid_out(found, targets))
        return (None,) * (1 + len(ctx.gradients))


class _Scaled(torch.autograd.Function):
    """Each parameter times its gain, rounded to a dtype, as often as it is used."""

    @staticmethod
    def forward(ctx, dtype, gains, uses, *views):
        ctx.set_materialize_grads(False)
        ctx.gains, ctx.uses = gains, uses
        ctx.views = copies = [view.detach() for view in views]
        if any(gain != 1 for gain in gains):
            copies = torch._foreach_mul(copies, gains)
        if dtype != views[0].dtype:
            narrow = [torch.empty_like(t, dtype=dtype) for t in copies]
            torch._foreach_copy_(narrow, copies)
            copies = narrow
        pairs = zip(copies, uses, strict=True)
        return tuple(t.detach() for t, count in pairs for _ in range(count))

    @staticmethod
    @once_differentiable
    def backward(ctx, *found):
        sums: dict[int, Tensor] = {}
        outputs = iter(found)
        of_each = [list(islice(outputs, count)) for count in ctx.uses]
        for use in reversed(range(max(ctx.uses))):  # as autograd comes by them
            now = {i: g[use] for i, g in enumerate(of_each) if use < len(g) and g[use] is not None}
            if not now:
                continue
            now = _scaled_back(now, ctx.views, ctx.gains)
            both = [i for i in now if i in sums]
            if both:
                added = torch._foreach_add([sums[i] for i in both], [now[i] for i in both])
                now |= dict(zip(both, added, strict=True))
            sums |= now
        return (None, None, None, *(sums.get(i) for i in range(len(ctx.views))))


def _scaled_back(
    found: dict[int, Tensor], views: Sequence[Tensor], gains: Sequence[float]
) -> dict[int, Tensor]:
    """The gradients times their gains, in the dtype and with the strides of the views."""
    like, own = [views[i] for i in found], [gains[i] for i in found]
    gradients = _laid_out(list(found.values()), like)
    if gradients[0].dtype != like[0].dtype:
        wide = [torch.empty_like(t) for t in like]
        torch._foreach_copy_(wide, gradients)
        gradients = wide
    if any(gain != 1 for gain in own):
        gradients = torch._foreach_mul(gradients, own)
    return dict(zip(found, gradients, strict=True))


def _laid_out(tensors: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    """The tensors with the strides of `like`, without which torch._foreach takes one at a time."""
    return [_with_strides(t, other) for t, other in zip(tensors, like, strict=True)]


def _with_strides(t: Tensor, like: Tensor) -> Tensor:
    if t.stride() == like.stride():
        return t
    sides = zip(t.shape, t.stride(), like.stride(), strict=True)
    if all(a == b for size, a, b in sides if size > 1):
        return t.as_strided(like.shape, like.stride())
    return torch.empty_like(like, dtype=t.dtype).copy_(t)
