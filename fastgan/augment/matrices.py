"""Batches of small homogeneous matrices."""

from collections.abc import Sequence

import torch
from torch import Tensor


def matrix(rows: Sequence[Sequence[Tensor | float]]) -> Tensor:
    """[N, R, C] from R rows of C entries: tensors [N] or numbers, at least one a tensor."""
    like = next(entry for row in rows for entry in row if isinstance(entry, Tensor))
    return torch.stack(
        [torch.stack([_filled(entry, like) for entry in row], dim=-1) for row in rows], dim=-2
    )


def compose(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for [N, K, K] matrices.

    Summed elementwise, so that TF32, which would move pixels, never applies.
    """
    return (a[:, :, :, None] * b[:, None, :, :]).sum(dim=2)


def translation(tx: Tensor, ty: Tensor) -> Tensor:
    """[N, 3, 3]: (x, y) → (x + tx, y + ty)."""
    return matrix([[1.0, 0.0, tx], [0.0, 1.0, ty], [0.0, 0.0, 1.0]])


def scaling(sx: Tensor, sy: Tensor | float) -> Tensor:
    """[N, 3, 3]: (x, y) → (sx·x, sy·y)."""
    return matrix([[sx, 0.0, 0.0], [0.0, sy, 0.0], [0.0, 0.0, 1.0]])


def rotation(cos: Tensor, sin: Tensor) -> Tensor:
    """[N, 3, 3]: (x, y) → (cos·x - sin·y, sin·x + cos·y)."""
    return matrix([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _filled(entry: Tensor | float, like: Tensor) -> Tensor:
    return entry if isinstance(entry, Tensor) else torch.full_like(like, entry)
