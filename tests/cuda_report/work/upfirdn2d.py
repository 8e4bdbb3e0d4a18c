"""upfirdn2d with 4 taps on [32, 128, 128, 128], padded to the same, twice or half the size."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work, rounds

_FACTORS = {"filter": (1, 1), "up 2": (2, 1), "down 2": (1, 2)}
_MOVED = {"filter": 2.0, "up 2": 1.25, "down 2": 5.0}  # elements per output: read and written
# Planes: outputs per thread, 16-byte chunks that a block stages, and chunks that it writes; what
# plan_tiles makes of 128 threads to a block.
_TILES = {
    ("filter", 2): (32, 35 * 18, 512),
    ("filter", 4): (16, 35 * 18, 544),
    ("up 2", 2): (32, 10 * 18, 512),
    ("up 2", 4): (16, 10 * 18, 528),
    ("down 2", 2): (16, 66 * 18, 256),
    ("down 2", 4): (8, 66 * 18, 288),
}


def _channels_last(kind: str, dtype: str) -> Work:
    """A thread takes 16 bytes of channels of 1 × 4 pixels (up 2: 2 × 2) of one sample."""
    up, down = _FACTORS[kind]
    run = 16 // ITEM_BYTES[dtype]
    return Work(
        label=f"upfirdn2d channels_last {kind} {dtype}",
        parts=(
            Part(
                kernel=f"upfirdn2d/channels_last_kernel<{dtype}, {run}, {up}, {down}>",
                outputs=4 * run,
                trips=(1,) if up == 2 else (1, 4),  # samples, columns of taps
                moved=_MOVED[kind] * ITEM_BYTES[dtype],
            ),
        ),
    )


def _planes(kind: str, dtype: str) -> Work:
    up, down = _FACTORS[kind]
    outputs, staged, written = _TILES[kind, ITEM_BYTES[dtype]]
    return Work(
        label=f"upfirdn2d planes {kind} {dtype}",
        parts=(
            Part(
                kernel=f"upfirdn2d/planes_kernel<{dtype}, {up}, {down}, 4>",
                outputs=outputs,
                # Staging (and chunks over an end of the tensor, by element), writing (likewise).
                trips=(rounds(staged, 128, 4), 0, 0, rounds(written, 128), 0),
                moved=_MOVED[kind] * ITEM_BYTES[dtype],
            ),
        ),
    )


WORK = tuple(
    make(kind, dtype)
    for make in (_channels_last, _planes)
    for kind in _FACTORS
    for dtype in ("float", "bfloat16")
)
