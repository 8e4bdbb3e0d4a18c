# SPDX-License-Identifier: Apache-2.0
"""adam_ema_ on 30 million parameters, beta1 = 0, with the moving average; per parameter."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_NUMEL = 30_000_000
_COUNT_THREADS, _THREADS = 132 * 8 * 256, 132 * 16 * 256
# Of the gradient's end: what the first pass leaves in the L2 cache (50 MB on an H200), where the
# second one begins.
_CACHED_BYTES = 40e6


def _step(dtype: str) -> Work:
    item = ITEM_BYTES[dtype]
    run = 16 // item
    again = item * max(0.0, 1 - _CACHED_BYTES / (_NUMEL * item))
    return Work(
        label=f"adam_ema {dtype}",
        parts=(
            Part(
                kernel=f"adam_ema/count_kernel<{dtype}, {run}>",
                outputs=_NUMEL / _COUNT_THREADS,
                trips=(_NUMEL / _COUNT_THREADS / run,),
                moved=item,
            ),
            Part(
                kernel=f"adam_ema/update_kernel<{dtype}, {run}>",
                outputs=_NUMEL / _THREADS,
                trips=(0, 1, 0, _NUMEL / _THREADS / run),  # 1056 counts summed, then the update
                moved=again + 28,  # param, exp_avg_sq, ema read and written, exp_avg written
            ),
        ),
        least=item + 28,
    )


WORK = tuple(map(_step, ("float", "bfloat16")))
