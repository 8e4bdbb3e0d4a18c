# SPDX-License-Identifier: Apache-2.0
"""observe_ of a batch of logits: what counts is the number of launches.

Every call adds the same to sums that start anew, so that its result can be checked.
"""

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops.observe import observe_, observe_ref


def cases() -> list[OpCase]:
    return [_case(32, is_quick=True), _case(8 * 30 * 30)]


def _observed(function, values: torch.Tensor) -> torch.Tensor:
    totals = torch.zeros(2, 1, 3, device=values.device)
    function(totals, values, 0, 1.0)
    return totals.to(values.dtype)


def _run(values: torch.Tensor) -> torch.Tensor:
    return _observed(observe_, values)


def _plain(values: torch.Tensor) -> torch.Tensor:
    return _observed(observe_ref, values)


def _case(n: int, **options) -> OpCase:
    return OpCase(
        op="observe",
        name=f"{n} logits",
        shapes=((n,),),
        run=_run,
        plain=_plain,
        floor_elements={"forward": n + 12, "forward+backward": 0, "double": 0},
        gpu_work={"forward": GpuWork(moved_elements=n + 12)},
        **options,
    )
