# SPDX-License-Identifier: Apache-2.0
"""What `winograd_conv2d`, `winograd_strided_conv2d`, its transpose and `grouped_conv2d` refuse."""

import torch

from fastgan.ops._operands import plain_numbers


def pair_of_pads(value: int | tuple[int, int]) -> tuple[int, int] | None:
    """(y, x), each 0, 1 or 2; None for anything else."""
    pads = plain_numbers(value if isinstance(value, tuple | list) else (value, value))
    is_pair = len(pads) == 2 and all(
        isinstance(pad, int) and not isinstance(pad, bool) and 0 <= pad <= 2 for pad in pads
    )
    return pads if is_pair else None


def checked_padding(
    op: str,
    x: torch.Tensor,
    w: torch.Tensor,
    padding: int | tuple[int, int],
    groups: int | None = None,
    transposed: bool = False,
    sides: tuple[int, ...] = (3,),
) -> tuple[int, int]:
    """`padding` as a pair (y, x), after a check of all operands of the convolution `op`.

    transposed: w is [C, K, 3, 3], and any map will do. sides: the kernels that there are, by their
    taps in one dimension.
    """
    side = w.shape[2] if w.dim() == 4 and w.shape[2] in sides else sides[0]
    pads = pair_of_pads(padding)
    if pads is None:
        raise ValueError(f"{op}: padding must be 0, 1 or 2, or a pair (y, x), got {padding!r}")
    if x.dtype not in (torch.float32, torch.float64) or w.dtype != x.dtype:
        raise TypeError(
            f"{op}: x and w must both be float32 or float64, got {x.dtype} and {w.dtype}; use "
            f"fastgan.ops.conv{'_transpose' if transposed else ''}2d, which takes every dtype"
        )
    is_large = x.dim() == 4 and (
        transposed or all(n + 2 * pad >= side for n, pad in zip(x.shape[2:], pads, strict=True))
    )
    if not is_large:
        least = "" if transposed else f" with padded maps of {side}×{side} or more"
        raise ValueError(
            f"{op}: x must be [N, C, H, W]{least}, got shape {tuple(x.shape)}; "
            f"{'reshape it' if x.dim() != 4 else 'pad it'}"
        )
    c, k = x.shape[1], w.shape[0] if w.dim() else 0
    if groups is not None:
        _check_groups(op, c, k, groups)
    own = c if groups is None else c // groups
    inputs = 0 if transposed else 1
    if w.dim() != 4 or w.shape[inputs] != own or w.shape[2:] != (side, side):
        start = f"[{own}, K, " if transposed else f"[K, {own}, "
        expected = " or ".join(f"{start}{n}, {n}]" for n in sides)
        where = "" if groups is None else f" in {groups} groups"
        raise ValueError(
            f"{op}: w must be {expected} for x of shape {tuple(x.shape)}{where}, got "
            f"{tuple(w.shape)}"
        )
    return pads


def _check_groups(op: str, c: int, k: int, groups: int) -> None:
    is_int = isinstance(groups, int) and not isinstance(groups, bool)
    if not is_int or groups < 1 or 0 in (c, k) or c % groups or k % groups:
        raise ValueError(
            f"{op}: groups must be an int that divides the {c} channels of x and the {k} of w, of "
            f"which there must be some, got {groups!r}"
        )
