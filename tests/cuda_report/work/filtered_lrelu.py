# SPDX-License-Identifier: Apache-2.0
"""filtered_lrelu at StyleGAN3's layers of 148 × 148, 512 channels, batch 4, made from 84 × 84.

Slope codes are written, or read where the kernel is an adjoint. What a tile makes for its edges is
counted: `tests/cuda_report/work` repeats the launcher's choice of tiles.
"""

from dataclasses import dataclass

from tests.cuda_report.work import ITEM_BYTES, WARP, Part, Work

_PLANES, _ENOUGH_LANES, _UNROLL = 2048, 1024 * 132, 2
_LARGE, _SMALL = 148, 84


@dataclass(frozen=True)
class _Kernel:
    """A walking kernel and what its launcher gives it."""

    name: str
    lanes: int
    threads: int
    loops_before: tuple[float, ...]  # trips of the check whether a filter is radial
    loops_inside: int  # for a filter that is not, in each row of v


_SEPARABLE = _Kernel("separable_kernel", 64, 256, (), 0)
_RADIAL_DOWN = _Kernel("radial_down_kernel", 48, 128, (5,), 1)
_RADIAL_UP = _Kernel("radial_up_kernel", 48, 128, (5,), 1)


def _work(label: str, kernel: _Kernel, dtype: str, up: int, down: int, *, is_read: bool) -> Work:
    phase = {(2, 2): 1, (4, 2): 2, (2, 4): 0}[up, down]
    up_taps, down_taps, skip, group = 6 * up, 6 * down, up - 1 - phase, max(up, down)
    into, outs = group // up, group // down
    size = _SMALL if down > up else _LARGE
    step = max(4 // down, 1)
    shift = skip if kernel is _RADIAL_UP else 0
    widest = ((4 * kernel.lanes - shift - down_taps) // down + 1) // step * step
    tile = -(-size // (-(-size // widest)) // step) * step
    tiles = -(-size // tile)
    lanes = -(-(shift + (tile - 1) * down + down_taps) // 4)
    height = -(-size // min(-(-size // 32), -(-_ENOUGH_LANES // (_PLANES * tiles * lanes))))
    height = -(-height // step) * step
    steps = (height - 1 + (skip + down_taps - 1) // down) // outs + 1
    units, threads = max(
        ((n, -(-n * lanes // WARP) * WARP) for n in range(1, kernel.threads // lanes + 1)),
        key=lambda block: block[0] / block[1],
    )
    arguments = f"Factors<{up}, {up_taps}, {down}, {down_taps}, {phase}>"
    mode = "" if kernel is _RADIAL_UP else f", {str(is_read).lower()}"
    name = f"{kernel.name}<{dtype}, {arguments}{mode if mode else ' '}>"
    codes = (size * down + down_taps) ** 2 / 4 / size**2
    return Work(
        label=f"filtered_lrelu {label} {dtype}",
        parts=(
            Part(
                kernel=name,
                outputs=size**2 * units / (tiles * -(-size // height) * threads),
                trips=(
                    *kernel.loops_before,
                    -(-5 // into),
                    -(-steps // _UNROLL),
                    *(0.0,) * (kernel.loops_inside * group * _UNROLL),
                ),
                moved=ITEM_BYTES[dtype] * (1 + (down / up) ** 2) + codes,
            ),
        ),
    )


WORK = tuple(
    work
    for dtype in ("float", "bfloat16")
    for work in (
        _work("StyleGAN3-T up 2 down 2", _SEPARABLE, dtype, 2, 2, is_read=False),
        _work("StyleGAN3-T up 4 down 2", _SEPARABLE, dtype, 4, 2, is_read=False),
        _work("StyleGAN3-T up 2 down 4", _SEPARABLE, dtype, 2, 4, is_read=True),
        _work("StyleGAN3-R", _RADIAL_DOWN, dtype, 2, 2, is_read=False),
        _work("StyleGAN3-R up 4 down 2", _RADIAL_DOWN, dtype, 4, 2, is_read=False),
        _work("StyleGAN3-R adjoint", _RADIAL_UP, dtype, 2, 2, is_read=True),
        _work("StyleGAN3-R adjoint up 2 down 4", _RADIAL_UP, dtype, 2, 4, is_read=True),
    )
)
