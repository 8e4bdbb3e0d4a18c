"""anti_aliased_snake on [32, 24, 8192]: ratios of 2, 12 taps; chunks as in twice_forward.cuh."""

from tests.cuda_report.work import ITEM_BYTES, WARP, Part, Work

_LENGTH, _ROWS, _CHUNK, _WARPS, _MOST = 8192, 32 * 24, 240, 32 * 132, 8


def _forward(dtype: str) -> Work:
    chunks = -(-_LENGTH // _CHUNK)
    of_warp = max(1, min(_MOST, chunks * _ROWS // _WARPS))
    warps = -(-chunks // of_warp)
    return Work(
        label=f"anti_aliased_snake forward {dtype}",
        parts=(
            Part(
                kernel=f"twice_forward_kernel<{dtype}, {16 // ITEM_BYTES[dtype]}>",
                outputs=_LENGTH / (warps * WARP),
                trips=(chunks / warps,),
                moved=2 * ITEM_BYTES[dtype],
            ),
        ),
    )


WORK = tuple(map(_forward, ("float", "bfloat16")))
