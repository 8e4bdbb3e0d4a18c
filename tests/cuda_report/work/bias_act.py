# SPDX-License-Identifier: Apache-2.0
"""bias_act on [32, 128, 128, 128]: lrelu with a bias and a clamp."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_LAYOUTS = {"planes": "false", "channels_last": "true"}


def _forward(layout: str, dtype: str) -> Work:
    run = 16 // ITEM_BYTES[dtype]
    return Work(
        label=f"bias_act forward {layout} {dtype}",
        parts=(
            Part(
                kernel=f"bias_act/forward_kernel<{dtype}, {run}, {_LAYOUTS[layout]}>",
                outputs=8 * run,
                trips=(
                    1,
                    4,
                    0,
                    0,
                ),  # lrelu's strips and pairs of runs, 8 runs a thread; those of relu
                moved=2 * ITEM_BYTES[dtype],
            ),
        ),
    )


WORK = tuple(_forward(layout, dtype) for layout in _LAYOUTS for dtype in ("float", "bfloat16"))
