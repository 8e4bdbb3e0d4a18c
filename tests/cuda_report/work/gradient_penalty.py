# SPDX-License-Identifier: Apache-2.0
"""gradient_penalty on [32, 3, 256, 256]: the squares of 24 chunks a sample; backward, a scale."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_CHUNK = 8192


def _batches(dtype: str) -> float:
    """Of four vectors in flight."""
    return _CHUNK / 256 / (16 // ITEM_BYTES[dtype]) / 4


def _forward(dtype: str) -> Work:
    item = ITEM_BYTES[dtype]
    return Work(
        label=f"gradient_penalty forward {dtype}",
        parts=(
            Part(
                kernel=f"gradient_penalty/square_kernel<{dtype}>",
                outputs=_CHUNK / 256,
                # No ends before and after vectors; sums: shuffles, and of the 8 warps.
                trips=(0, _batches(dtype), 0, 0, 5, 0, 1, 3),
                moved=item,
            ),
        ),
    )


def _backward(dtype: str) -> Work:
    item = ITEM_BYTES[dtype]
    return Work(
        label=f"gradient_penalty backward {dtype}",
        parts=(
            Part(
                kernel=f"gradient_penalty/scale_kernel<{dtype}>",
                outputs=_CHUNK / 256,
                trips=(0, _batches(dtype), 0, 0),
                moved=2 * item,
            ),
        ),
    )


WORK = tuple(make(dtype) for make in (_forward, _backward) for dtype in ("float", "bfloat16"))
