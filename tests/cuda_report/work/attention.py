# SPDX-License-Identifier: Apache-2.0
"""attention of 1024 queries to 1024 keys with 64 channels, outputs counted as elements of o.

Every loop is one of two: a product of rows along the channels, or one of a tile with rows.
"""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_ROWS, _CHANNELS, _TILE, _CHUNK, _STEP, _THREADS = 1024, 64, 64, 32, 4, 256
_OUTPUTS = _TILE * _TILE / _THREADS


def _trips(pattern: str, dtype: str) -> tuple[float, ...]:
    """Of the loop over tiles and of those inside: D, a product along channels, two chunks of them;
    T, one with a tile; P, the sum over parts of more channels. Rows are staged in runs of 16 bytes,
    once around is no loop; the loops that stage elements one by one never run."""
    run = 16 // ITEM_BYTES[dtype]
    around = _TILE * _CHUNK / run / _THREADS
    staged = (0.0,) if around == 1 else (around, 0.0)
    loops = {
        "D": (_CHANNELS / _CHUNK, *staged, *staged, _CHUNK / _STEP),
        "T": (_TILE * _TILE / run / _THREADS, 0.0, _TILE / _STEP),
        "P": (0.0,),
    }
    return (_ROWS / _TILE, *(n for letter in pattern for n in loops[letter]))


def _tiles(kernel: str, pattern: str, dtype: str, moved: float) -> Part:
    return Part(
        kernel=f"attention/{kernel}<{dtype}>",
        outputs=_OUTPUTS,
        trips=_trips(pattern, dtype),
        moved=moved * ITEM_BYTES[dtype],
    )


def _row_dots(dtype: str) -> Part:
    return Part(
        kernel=f"attention/row_dots_kernel<{dtype}>",
        outputs=_CHANNELS / 32,
        trips=(1, _CHANNELS / 32 / 2),
        moved=2 * ITEM_BYTES[dtype],
    )


def _works(dtype: str) -> tuple[Work, ...]:
    own_o = "T" if dtype != "float" else ""
    return (
        Work(
            label=f"attention forward {dtype}",
            parts=(_tiles("forward_kernel", "DT", dtype, 4),),
        ),
        Work(
            label=f"attention backward {dtype}",
            parts=(
                _row_dots(dtype),
                _tiles("backward_q_kernel", "DDT", dtype, 5),
                _tiles("backward_kv_kernel", "DDTT", dtype, 6),
            ),
        ),
        Work(
            label=f"attention double backward {dtype}",
            parts=(
                _row_dots(dtype),
                _tiles("double_grad_o_kernel", f"DDDT{own_o}T", dtype, 9),
                _tiles("double_q_kernel", "DDDDPDTT", dtype, 8),
                _tiles("double_kv_kernel", "DDDTDPDTT", dtype, 9),
            ),
        ),
    )


WORK = (*_works("float"), *_works("bfloat16"))
