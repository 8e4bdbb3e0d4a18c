"""bias_act on [32, 128, 128, 128]: lrelu with a bias and a clamp."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_NUMEL = 32 * 128**3
_THREADS = 132 * 16 * 256  # grid_for on an H100 or H200


def _forward(dtype: str) -> Work:
    run = 16 // ITEM_BYTES[dtype]
    trips = _NUMEL / _THREADS / run
    return Work(
        label=f"bias_act forward {dtype}",
        parts=(
            Part(
                kernel=f"bias_act/elementwise_kernel<{dtype}, PiecewiseLinearOnly, (Direction)0, "
                f"{run}, unsigned int>",
                outputs=_NUMEL / _THREADS,
                trips=(trips,),
                moved=2 * ITEM_BYTES[dtype],
            ),
        ),
    )


WORK = tuple(map(_forward, ("float", "bfloat16")))
