# SPDX-License-Identifier: Apache-2.0
"""anti_aliased_snake on [32, 24, 8192]: ratios of 2, 12 taps; steps as in twice_forward.cuh."""

from tests.cuda_report.work import ITEM_BYTES, WARP, Part, Work

_LENGTH, _ROWS, _STEP, _LEAST_WARPS, _MOST = 8192, 32 * 24, 512, 8 * 132, 8


def _forward(dtype: str) -> Work:
    steps = -(-_LENGTH // _STEP)
    warps = -(-steps // max(1, min(_MOST, steps * _ROWS // _LEAST_WARPS)))
    return Work(
        label=f"anti_aliased_snake forward {dtype}",
        parts=(
            Part(
                kernel=f"twice_forward_kernel<{dtype}, {16 // ITEM_BYTES[dtype]}>",
                outputs=_LENGTH / (warps * WARP),
                trips=(steps / warps,),
                moved=2 * ITEM_BYTES[dtype],
            ),
        ),
    )


WORK = tuple(map(_forward, ("float", "bfloat16")))
