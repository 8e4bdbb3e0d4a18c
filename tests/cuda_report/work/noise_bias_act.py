"""noise_bias_act on [32, 128, 128, 128]: scale, noise shared by the samples, bias, lrelu, clamp."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_NUMEL = 32 * 128**3
_THREADS = 132 * 16 * 256  # grid_for on an H100 or H200


def _forward(dtype: str) -> Work:
    run = 16 // ITEM_BYTES[dtype]
    return Work(
        label=f"noise_bias_act forward {dtype}",
        parts=(
            Part(
                kernel=f"noise_bias_act/forward_kernel<{dtype}, {run}, unsigned int>",
                outputs=_NUMEL / _THREADS,
                trips=(_NUMEL / _THREADS / run,),
                moved=2 * ITEM_BYTES[dtype],
            ),
        ),
    )


WORK = tuple(map(_forward, ("float", "bfloat16")))
