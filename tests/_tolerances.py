# SPDX-License-Identifier: Apache-2.0
"""The one table of numerical limits, and the comparison that uses it.

An error is |got - want| in units of eps·scale + tiny, element by element: `want` comes from an
oracle in float64, `scale` is the sum of the magnitudes that were added up to make the element, eps
and tiny are those of the dtype under test. In 16 bits the limit is not a number but twice plain
PyTorch's own error in the same test.
"""

import numpy as np
import torch

LIMITS = {torch.float64: 4.0, torch.float32: 2.0}  # the oracle itself rounds in float64
TIMES_PYTORCH = 2.0
ONE_ROUNDING = 0.5  # what storing the exact result costs
# g++ does not vectorise what a sanitizer instruments, and one running sum is less accurate than the
# eight of a vector. Such a run looks for faults of memory; the limits are the shipped library's.
TIMES_UNDER_A_SANITIZER = 4.0
times = 1.0  # of every limit, in this run


def numpy64(t) -> np.ndarray:
    """A tensor or array as float64."""
    if isinstance(t, torch.Tensor):
        return t.detach().cpu().to(torch.float64).numpy()
    return np.asarray(t, dtype=np.float64)


def errors(got: torch.Tensor, want, scale) -> np.ndarray:
    """Errors per element in the unit of this file."""
    got_values, want, scale = numpy64(got), numpy64(want), numpy64(scale)
    assert got_values.shape == want.shape, f"shape {got_values.shape}, expected {want.shape}"
    unit = torch.finfo(got.dtype).eps * np.abs(scale) + torch.finfo(got.dtype).tiny
    return np.abs(got_values - want) / unit


def assert_accurate(
    got: torch.Tensor, want, scale, *, plain=None, where=None, what="y", or_twice_plain=False
) -> None:
    """Every element of `got` is within the limit of its dtype.

    plain: what plain PyTorch computes from the same 16-bit inputs; required for 16 bits.
    where: elements to compare; default all.
    or_twice_plain: 32 and 64 bits, too, may err twice as much as plain PyTorch: for long sums.
    """
    found = errors(got, want, scale)
    limit = LIMITS.get(got.dtype, TIMES_PYTORCH * ONE_ROUNDING)
    if got.dtype not in LIMITS or or_twice_plain:
        theirs = errors(plain, want, scale)
        theirs = theirs if where is None else theirs[where]
        limit = max(limit, TIMES_PYTORCH * float(theirs.max(initial=0.0)))
    limit *= times
    found = found if where is None else np.where(where, found, 0.0)
    if found.size and not found.max() <= limit:  # NaN fails too
        worst = np.unravel_index(
            int(np.nanargmax(np.where(np.isnan(found), np.inf, found))), found.shape
        )
        raise AssertionError(
            f"{what}{list(map(int, worst))}: error {found[worst]:.3g} eps, limit {limit:.3g}: "
            f"got {numpy64(got)[worst]!r}, expected {numpy64(want)[worst]!r}"
        )
