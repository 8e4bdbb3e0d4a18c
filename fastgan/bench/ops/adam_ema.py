# SPDX-License-Identifier: Apache-2.0
"""adam_ema_ over flat buffers of GAN size: Adam with β1 = 0 and the moving average.

Every call must find the values of the first, so that its result can be checked: β1 = β2 = 0, lr 0
and an average of weight 1 write what is there already. What is read and written does not change.
"""

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops import adam_ema_
from fastgan.ops.adam_ema import adam_ema_ref

_EPS = 1e-8


def cases() -> list[OpCase]:
    return [_case(1_000_000, is_quick=True), _case(30_000_000)]


def _scalars(dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """step, nonfinite, lr, ema_weight."""
    counts = torch.zeros((), dtype=torch.int64), torch.zeros((), dtype=torch.int64)
    return *counts, torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)


def _case(n: int, **options) -> OpCase:
    narrow, wide = _scalars(torch.float32), _scalars(torch.float64)

    def run(param, grad, exp_avg, exp_avg_sq, ema):
        step, nonfinite, lr, ema_weight = narrow if param.dtype == torch.float32 else wide
        adam_ema_(param, grad, exp_avg, exp_avg_sq, step=step, nonfinite=nonfinite, lr=lr,
                  betas=(0, 0), eps=_EPS, ema=ema, ema_weight=ema_weight)  # fmt: skip
        return exp_avg_sq

    def plain(param, grad, exp_avg, exp_avg_sq, ema):
        step, nonfinite, lr, ema_weight = narrow if param.dtype == torch.float32 else wide
        adam_ema_ref(param, grad, exp_avg, exp_avg_sq, ema, step, nonfinite, lr, ema_weight,
                     None, 0.0, 0.0, _EPS, 0.0, 1.0)  # fmt: skip
        return exp_avg_sq

    return OpCase(
        op="adam_ema",
        name=f"beta1 0, {n // 1_000_000} M parameters",
        shapes=((n,),) * 5,
        run=run,
        plain=plain,
        # Reads the gradient, the parameters, exp_avg_sq and the average; writes the last three and
        # exp_avg. The GPU reads the gradient once more, before anything may be written.
        floor_elements={"forward": 8 * n, "forward+backward": 0, "double": 0},
        gpu_work={"forward": GpuWork(moved_elements=9 * n, launches=2)},
        **options,
    )
