# SPDX-License-Identifier: Apache-2.0
"""The backward pass of modulate on [32, 128, 128, 128]: dx = dz·s and ds = Σ dz·x in one kernel."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work


def _backward(layout: str, dtype: str) -> Work:
    """Eight runs of 16 bytes to a thread, two at a time; then the sums over the block."""
    run = 16 // ITEM_BYTES[dtype]
    shuffles = 1 if dtype == "bfloat16" else 0  # over rows of 16 or of 32 threads
    return Work(
        label=f"modulate backward {layout} {dtype}",
        parts=(
            Part(
                kernel=f"modulate/backward_{'planes' if layout == 'planes' else 'columns'}_kernel"
                f"<{dtype}, {run}>",
                outputs=8 * run,
                # Planes: shuffles, and the sums of 8 warps.
                trips=(4, 5, 0, 1, 3) if layout == "planes" else (4, shuffles),
                moved=3 * ITEM_BYTES[dtype],
            ),
        ),
    )


WORK = tuple(
    _backward(layout, dtype)
    for layout in ("planes", "channels_last")
    for dtype in ("float", "bfloat16")
)
