"""Batches of small homogeneous matrices."""

from collections.abc import Sequence

import torch
from torch import Tensor


def matrix(rows: Sequence[Sequence[Tensor | float]]) -> Tensor:
    """[N, R, C] from R rows of C entries: tensors [N] or numbers, at least one a tensor."""
    entries = [entry for row in rows for entry in row]
    like = next(entry for entry in entries if isinstance(entry, Tensor))
    numbers = {entry for entry in entries if not isinstance(entry, Tensor)}
    filled = {number: torch.full_like(like, number) for number in sorted(numbers)}
    columns = [entry if isinstance(entry, Tensor) else filled[entry] for entry in entries]
    return torch.stack(columns, dim=-1).unflatten(-1, (len(rows), -1))


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
