"""The backward pass of modulate on [32, 128, 128, 128]: dx = dz·s, and ds = Σ dz·x."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_NUMEL, _PLANE, _CHANNELS = 32 * 128**3, 128**2, 128
_THREADS = 132 * 16 * 256  # grid_for on an H100 or H200


def _backward(layout: str, dtype: str) -> Work:
    item = ITEM_BYTES[dtype]
    run = 16 // item
    trips = _NUMEL / _THREADS / run
    if layout == "planes":
        scale = (trips, 0) if dtype == "float" else (trips, 0, 0, 0)  # s in float32; the last run
        # A warp sums a slice of 4096 pixels: by single elements at its ends, shuffles, warps.
        dot = (0, 4096 / 32 / run, 0, 5, 0, 0, 0)
        dotted = 4096 / 32
    else:
        scale = (trips, 0)  # s in float32, or in x's dtype
        dot = (16, 1)  # 16 pixels to a thread
        dotted = 16 * run
    return Work(
        label=f"modulate backward {layout} {dtype}",
        parts=(
            Part(
                kernel=f"modulate/modulate_{'planes' if layout == 'planes' else 'columns'}_kernel"
                f"<{dtype}, unsigned int>",
                outputs=_NUMEL / _THREADS,
                trips=scale,
                moved=2 * item,
            ),
            Part(
                kernel=f"modulate/dot_{'planes' if layout == 'planes' else 'columns'}_kernel"
                f"<{dtype}, {run}, unsigned int>",
                outputs=dotted,
                trips=dot,
                moved=2 * item,
            ),
        ),
        least=3 * item,
    )


WORK = tuple(
    _backward(layout, dtype)
    for layout in ("planes", "channels_last")
    for dtype in ("float", "bfloat16")
)
