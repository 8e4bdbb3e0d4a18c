# SPDX-License-Identifier: Apache-2.0
"""minibatch_stddev on [32, 512, 16, 16] in groups of 4, outputs counted as elements of x."""

from tests.cuda_report.work import ITEM_BYTES, Part, Work

_GROUP = 4


def _forward(dtype: str) -> Work:
    item = ITEM_BYTES[dtype]
    run = 16 // item
    return Work(
        label=f"minibatch_stddev forward {dtype}",
        parts=(
            Part(
                kernel=f"minibatch_stddev/forward_kernel<{dtype}, {run}, 4, unsigned int>",
                outputs=_GROUP * 8192 / 256,  # a slice is 8192 places
                trips=(8192 / 256 / run, 0, 0, 0),  # places; the last three: one slice alone
                moved=item,
            ),
        ),
    )


def _backward(dtype: str) -> Work:
    item = ITEM_BYTES[dtype]
    run = 16 // item
    return Work(
        label=f"minibatch_stddev backward {dtype}",
        parts=(
            Part(
                kernel=f"minibatch_stddev/backward_kernel<{dtype}, {run}, 4, unsigned int>",
                outputs=_GROUP * 2048 / 256,
                trips=(0, 1, 0, 2048 / 256 / run),  # the sum of dy over 4 samples, places
                moved=2 * item,
            ),
        ),
    )


WORK = tuple(make(dtype) for make in (_forward, _backward) for dtype in ("float", "bfloat16"))
