"""anti_aliased_snake on [32, 24, 8192]: ratios of 2, 12 taps."""

from tests.cuda_report.work import ITEM_BYTES, WARP, Part, Work, rounds

_LENGTH = 8192


def _forward(dtype: str) -> Work:
    run = 16 // ITEM_BYTES[dtype]
    halo = max(run, 4)
    tiles = -(-_LENGTH // (256 * run - 2 * halo))
    tile = -(-_LENGTH // (tiles * run)) * run
    threads = -(-(tile + 2 * halo) // run // WARP) * WARP
    return Work(
        label=f"anti_aliased_snake forward {dtype}",
        parts=(
            Part(
                kernel=f"twice_forward_kernel<{dtype}, {run}>",
                outputs=_LENGTH / (tiles * threads),
                trips=(rounds(threads + 2 * halo / run, threads),),  # the window of x
                moved=2 * ITEM_BYTES[dtype],
            ),
        ),
    )


WORK = tuple(map(_forward, ("float", "bfloat16")))
