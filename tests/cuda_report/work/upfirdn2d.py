# SPDX-License-Identifier: Apache-2.0
"""upfirdn2d with 4 taps on [32, 128, 128, 128], padded to the same, twice or half the size.

The taps are an outer product, as those of every published network. Rows of strips and threads of
blocks are what the launchers choose for this shape. A strip goes round for the rows that it makes
and for those that only begin some.
"""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_FACTORS = {"filter": (1, 1), "up 2": (2, 1), "down 2": (1, 2)}
_MOVED = {"filter": 2.0, "up 2": 1.25, "down 2": 5.0}  # elements per output: read and written
_SIDE = {"filter": 128, "up 2": 256, "down 2": 64}  # of the output
_WARM_UP = {"filter": 3, "up 2": 1, "down 2": 1}  # steps; one makes a row, or two (up 2)
# Rows of output per strip.
_CHANNELS_LAST_ROWS = {
    ("filter", 2): 16,
    ("filter", 4): 32,
    ("up 2", 2): 32,
    ("up 2", 4): 32,
    ("down 2", 2): 8,
    ("down 2", 4): 16,
}
_PLANE_ROWS = {
    ("filter", 2): 32,
    ("filter", 4): 32,
    ("up 2", 2): 32,
    ("up 2", 4): 32,
    ("down 2", 2): 32,
    ("down 2", 4): 32,
}


def _channels_last(kind: str, dtype: str) -> Work:
    """A thread takes 16 bytes of channels of two columns (down 2: one) of one sample."""
    up, down = _FACTORS[kind]
    run, rows = 16 // ITEM_BYTES[dtype], _CHANNELS_LAST_ROWS[kind, ITEM_BYTES[dtype]]
    strips = -(-(_SIDE[kind] + (up == 2)) // rows)  # up 2: the first row is only half a pair
    rows = -(-(_SIDE[kind] + (up == 2)) // (strips * up)) * up
    columns = 1 if down == 2 else 2
    return Work(
        label=f"upfirdn2d channels_last {kind} {dtype}",
        parts=(
            Part(
                kernel=f"upfirdn2d/channels_last_kernel<{dtype}, {run}, {up}, {down}>",
                outputs=run * columns * _SIDE[kind] / strips,
                trips=(rows // up + _WARM_UP[kind], 0),  # taps that are no outer product: 0
                moved=_MOVED[kind] * ITEM_BYTES[dtype],
            ),
        ),
    )


def _planes(kind: str, dtype: str) -> Work:
    """A thread makes 16 bytes of a row (down 2: 8), and its loop reads two rows at once."""
    up, down = _FACTORS[kind]
    rows = _PLANE_ROWS[kind, ITEM_BYTES[dtype]]
    strips = -(-(_SIDE[kind] + (up == 2)) // rows)
    rows = -(-(_SIDE[kind] + (up == 2)) // (strips * up)) * up
    steps = rows // up + _WARM_UP[kind]
    trips = steps if down == 2 else -(-steps // 2)
    # The ends of the tensor, the rows in words (those at an end by element), and the same for taps
    # that are no outer product; what leaves through shared memory.
    return Work(
        label=f"upfirdn2d planes {kind} {dtype}",
        parts=(
            Part(
                kernel=f"upfirdn2d/planes_kernel<{dtype}, {up}, {down}>",
                outputs=16 / ITEM_BYTES[dtype] / down * _SIDE[kind] / strips,
                trips=(0, 0, 0, 0, trips, *(0,) * 11),
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
