"""filtered_lrelu of StyleGAN3, in tiles whose outputs all exist, slope codes written."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work, rounds

_THREADS = 256


def _unrolled(items: float) -> tuple[float, float]:
    """Trips of a loop that nvcc unrolls by 4: of what is left over, then of fours."""
    once = rounds(items, _THREADS)
    return once % 4, float(once // 4)


def _fixed(dtype: str, up: int, down: int) -> Work:
    up_taps, down_taps, outs = 6 * up, 6 * down, 16 if down > 2 else 32
    wides = (outs - 1) * down + down_taps
    wide = -(-(up - 1 + wides) // (4 * up)) * 4 * up
    inside = (wide - 1 + up_taps - 1) // up + 2
    return Work(
        label=f"filtered_lrelu StyleGAN3-T up {up} down {down} {dtype}",
        parts=(
            Part(
                kernel=f"fixed_kernel<{dtype}, Factors<{up}, {up_taps}, {down}, {down_taps}> >",
                outputs=outs**2 / _THREADS,
                trips=(
                    *_unrolled(inside**2),
                    rounds(inside * wide / (4 * up), _THREADS),
                    rounds(wide / (4 * up) * wide, _THREADS),
                    rounds(wides * (wides / 4 + 0.5), _THREADS),  # bytes of codes in a row
                    rounds(outs / 4 * wide, _THREADS),
                    rounds(outs * outs / 4, _THREADS),
                    *_unrolled(outs**2),
                ),
                moved=2 * ITEM_BYTES[dtype] + 1 if up == down else 2 * ITEM_BYTES[dtype],
            ),
        ),
    )


def _radial(dtype: str, is_adjoint: bool) -> Work:
    """up 2 and down 2 of 12 taps; the 12 × 12 filter is the one down, in the adjoint the one up."""
    outs, taps = 32, 12
    wides = (outs - 1) * 2 + taps
    wide = 1 + wides
    inside = (wide - 1 + taps - 1) // 2 + 2
    widen = rounds(wide**2, _THREADS)
    down_y = rounds(outs * wides, _THREADS)
    codes = rounds(wides * (wides / 4 + 0.5), _THREADS)
    down_x = rounds(outs**2, _THREADS)
    if dtype == "float":  # nvcc makes loops of their own for the cases of is_flipped and mode
        across = (0,) * 4 if is_adjoint else (rounds(inside * wide, _THREADS), 6, widen, 6)
        radial_up = (widen, 0, 0, 6, 6, 0) if is_adjoint else (0,) * 6
        separable = (down_y, 0, 3, 0, 0, down_x, 0, 3, 0, 0) if is_adjoint else (0,) * 10
        radial_down = (0,) * 7 if is_adjoint else (down_x, 12, 0, 3, 0, 0, 0)
        middle = (*across, *radial_up, codes, 0, 0, 0, *separable, *radial_down)
    elif is_adjoint:
        middle = (0, 0, widen, 6, 6, codes, down_y, 0, 3, down_x, 3, 0, 0)
    else:
        middle = (rounds(inside * wide, _THREADS), 6, widen, 6, 0, codes, 0, 0, 0, down_x, 0, 12, 3)
    trips = (*_unrolled(inside**2), *middle, *_unrolled(outs**2))
    return Work(
        label=f"filtered_lrelu StyleGAN3-R {'adjoint ' if is_adjoint else ''}{dtype}",
        parts=(
            Part(
                kernel=f"general_kernel<{dtype}>",
                outputs=outs**2 / _THREADS,
                trips=trips,
                moved=2 * ITEM_BYTES[dtype] + 1,
            ),
        ),
    )


WORK = (
    *(
        _fixed(dtype, up, down)
        for up, down in ((2, 2), (4, 2), (2, 4))
        for dtype in ("float", "bfloat16")
    ),
    *(
        _radial(dtype, is_adjoint)
        for is_adjoint in (False, True)
        for dtype in ("float", "bfloat16")
    ),
)
