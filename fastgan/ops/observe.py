# SPDX-License-Identifier: Apache-2.0
"""observe_: adds the mean of a tensor to the running sums of one statistic, on its device.

    m = Σ values / values.numel()                                in float32 or wider
    totals[:, row] ← totals[:, row] + share·(m, 1, 0)            where m is finite in float32
    totals[:, row] ← totals[:, row] + share·(0, 0, 1)            elsewhere

`totals` [2, rows, 3] holds sums of two periods. The mean of no values is NaN. Deterministic;
capturable; not differentiable. On CUDA it is one launch of one block, which is made for losses and
logits: what has more than 65,536 values is averaged by torch before. On a CPU it is one loop on one
thread, which sums in float64, in the place of ten of torch's functions.
"""

import torch

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op
from fastgan.ops._operands import check_floating

__all__: list[str] = []  # fastgan.training.step.statistics is what users see

_MOST_OF_A_BLOCK = 1 << 16


def observe_ref(totals: torch.Tensor, values: torch.Tensor, row: int, share: float) -> None:
    """The definition of `observe_` in PyTorch."""
    wide = torch.promote_types(values.dtype, torch.float32)
    mean = values.detach().mean(dtype=wide).to(totals.dtype)
    is_finite = mean.isfinite()
    kept = torch.where(is_finite, mean, torch.zeros_like(mean))
    counted = torch.stack([kept, is_finite, ~is_finite])
    totals[:, row].add_(counted, alpha=share)


_op = define_op(
    "observe_(Tensor(a!) totals, Tensor values, int row, float share) -> ()",
    reference=observe_ref,
    fake=lambda *arguments: None,
)


def observe_(totals: torch.Tensor, values: torch.Tensor, row: int, share: float = 1.0) -> None:
    """Adds mean(values) to row `row` of both halves of `totals` as `share` of an observation.

    Args:
        totals: [2, rows, 3], contiguous: of each period and row the sum of means, their number and
            the number of means that were not finite; written to. Float32 is what the kernels take;
            float64 totals are PyTorch's work.
        values: of any shape, floating point, on the device of `totals`; its gradient is not
            followed.
        row: from 0.
        share: of one observation.

    Raises:
        TypeError: values have no floating-point dtype.
        ValueError: totals have no such row.
    """
    check_floating("observe_", "values", values)
    if not 0 <= row < totals.shape[1]:
        raise ValueError(
            f"observe_: row must be from 0 to {totals.shape[1] - 1}, a row of totals, got {row}"
        )
    values = values.detach()
    if values.numel() > _MOST_OF_A_BLOCK:
        values = values.mean(dtype=torch.promote_types(values.dtype, torch.float32))
    is_plain = reference_is_forced() or totals.dtype is not torch.float32
    run = observe_ref if is_plain else _op
    run(totals, values.contiguous(), row, share)
