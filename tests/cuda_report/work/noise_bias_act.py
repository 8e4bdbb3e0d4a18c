# SPDX-License-Identifier: Apache-2.0
"""noise_bias_act on [32, 128, 128, 128]: scale, noise shared by the samples, bias, lrelu, clamp."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_KERNELS = {"planes": "forward_planes_kernel", "channels_last": "forward_columns_kernel"}


def _forward(layout: str, dtype: str) -> Work:
    run = 16 // ITEM_BYTES[dtype]
    return Work(
        label=f"noise_bias_act forward {layout} {dtype}",
        parts=(
            Part(
                kernel=f"noise_bias_act/{_KERNELS[layout]}<{dtype}, {run}>",
                outputs=8 * run,
                trips=(1, 4, 0, 0),  # lrelu's strips and pairs of runs, 8 runs a thread; relu's
                moved=2 * ITEM_BYTES[dtype],
            ),
        ),
    )


WORK = tuple(_forward(layout, dtype) for layout in _KERNELS for dtype in ("float", "bfloat16"))
