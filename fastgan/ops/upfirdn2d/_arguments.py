# SPDX-License-Identifier: Apache-2.0
"""What callers of upfirdn2d pass, checked: filters, factors and paddings."""

from collections.abc import Sequence

import numpy as np
import torch

from fastgan.ops._operands import check_device, check_floating, compute_dtype, plain_numbers


def taps_of(f: torch.Tensor) -> tuple[int, int]:
    """Filter height and width; a 1-D f is separable and square."""
    return (f.shape[0], f.shape[0]) if f.dim() == 1 else (f.shape[0], f.shape[1])


def _whole(value: int | Sequence[int], count: int) -> tuple:
    """A sequence as a tuple, anything else `count` times, of `plain_numbers`."""
    is_sequence = isinstance(value, Sequence | np.ndarray)
    return plain_numbers(tuple(value) if is_sequence else (value,) * count)


def pair_of(op: str, name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """(x, y) from an int or a pair of ints ≥ 1."""
    pair = _whole(value, 2)
    if len(pair) != 2 or not all(
        isinstance(v, int) and not isinstance(v, bool) and v >= 1 for v in pair
    ):
        raise ValueError(f"{op}: {name} must be an int ≥ 1 or a pair [x, y] of them, got {value!r}")
    return pair


def padding_of(op: str, value: int | Sequence[int]) -> tuple[int, int, int, int]:
    """(x0, x1, y0, y1) from an int, [x, y] or [x0, x1, y0, y1]."""
    pads = _whole(value, 4)
    if len(pads) == 2:
        pads = (pads[0], pads[0], pads[1], pads[1])
    if len(pads) != 4 or not all(
        isinstance(v, int | torch.SymInt) and not isinstance(v, bool) for v in pads
    ):
        raise ValueError(
            f"{op}: padding must be an int, [x, y] or [x0, x1, y0, y1] in up-sampled pixels, "
            f"got {value!r}"
        )
    return pads


def centred_up(pads, taps, up_x, up_y):
    """`pads` (x0, x1, y0, y1) and what centres a filter of `taps` = (height, width) on the samples
    between which it fills in: with padding 0, H rows become up_y·H."""
    x0, x1, y0, y1 = pads
    fh, fw = taps
    return (
        x0 + (fw + up_x - 1) // 2,
        x1 + (fw - up_x) // 2,
        y0 + (fh + up_y - 1) // 2,
        y1 + (fh - up_y) // 2,
    )


def centred_down(pads, taps, down_x, down_y):
    """The same on each run of samples of which one is kept: H rows become ⌊H / down_y⌋."""
    x0, x1, y0, y1 = pads
    fh, fw = taps
    return (
        x0 + (fw - down_x + 1) // 2,
        x1 + (fw - down_x) // 2,
        y0 + (fh - down_y + 1) // 2,
        y1 + (fh - down_y) // 2,
    )


def filter_of(op: str, f: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    dtype = compute_dtype(x)
    if f is None:
        return torch.ones(1, 1, dtype=dtype, device=x.device)
    if not isinstance(f, torch.Tensor) or f.dim() not in (1, 2) or f.numel() == 0:
        got = tuple(f.shape) if isinstance(f, torch.Tensor) else f
        raise ValueError(
            f"{op}: f must be a tensor [taps] (separable) or [taps_y, taps_x], got {got}; "
            "make it with setup_filter"
        )
    if f.requires_grad:
        raise ValueError(f"{op}: f is a constant and takes no gradient; pass f.detach()")
    check_device(op, "f", f, x)
    if f.dtype != dtype:
        check_floating(op, "f", f)
    return f.to(dtype)


def check_map(op: str, x: torch.Tensor) -> None:
    if x.dim() != 4:
        raise ValueError(f"{op}: x must be [N, C, H, W], got shape {tuple(x.shape)}; reshape it")
    check_floating(op, "x", x)
