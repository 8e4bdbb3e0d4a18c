# SPDX-License-Identifier: Apache-2.0
"""attention at the sizes of small transformers, of SAGAN's maps, and of padded sequences' lengths.

What the kernels move is little: on a GPU it is the products that take the time, and the roofline
model, which knows bytes alone, says less than they need.
"""

import math

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops import attention


def cases() -> list[OpCase]:
    return [
        _case("8 x 4 heads of 64 tokens", (8, 4), 64, 64, 32, 32, is_quick=True),
        _case("SAGAN 16x16", (8,), 256, 256, 8, 32, is_quick=True),
        _case("8 x 4 heads of 256 tokens", (8, 4), 256, 256, 64, 64),
        _case("SAGAN 32x32", (4,), 1024, 1024, 32, 128),
        _case("ragged", (3, 2), 197, 131, 40, 72),
        _case("8 x 4 heads of 256 tokens", (8, 4), 256, 256, 64, 64, dtype=torch.bfloat16),
    ]


def gpu_cases() -> list[OpCase]:
    """Matrices of queries by keys that alone would take 1 GiB in float32."""
    return [
        _case("64 x 4 heads of 1024 tokens", (64, 4), 1024, 1024, 64, 64),
        _case("64 x 4 heads of 1024 tokens", (64, 4), 1024, 1024, 64, 64, dtype=torch.bfloat16),
        _case("SAGAN 64x64", (16,), 4096, 4096, 32, 128),
    ]


def _case(
    name: str,
    batch: tuple[int, ...],
    queries: int,
    keys: int,
    channels: int,
    values: int,
    **options,
) -> OpCase:
    items = math.prod(batch)
    q, k = items * queries * channels, items * keys * channels
    v, o = items * keys * values, items * queries * values
    forward, gradients = q + k + v + o, q + k + v
    backward = 2 * gradients + o  # do, q, k and v; dq, dk and dv
    second = q + 2 * gradients + 2 * o  # gq, do, q, k and v; the gradients by do, q, k and v
    # Each kernel that owns queries or keys reads its inputs anew, and two numbers or three a row.
    # The second pass is given no gk and gv: zeros, filled by plain torch.
    rows = 4 // options.get("dtype", torch.float32).itemsize * items * queries
    backward_moved = 2 * (gradients + o) + 2 * o + gradients + 5 * rows
    second_moved = 3 * (2 * gradients + o) + 3 * o + gradients + o + k + v + 12 * rows
    return OpCase(
        op="attention",
        name=name,
        shapes=((*batch, queries, channels), (*batch, keys, channels), (*batch, keys, values)),
        run=attention,
        plain=_plain,
        floor_elements={
            "forward": forward,
            "forward+backward": forward + backward,
            "double": forward + backward + second,
        },
        gpu_work={
            "forward": GpuWork(moved_elements=forward + rows),
            "forward+backward": GpuWork(moved_elements=forward + rows + backward_moved, launches=4),
            "double": GpuWork(
                moved_elements=forward + rows + backward_moved + second_moved, launches=10
            ),
        },
        **options,
    )


def _plain(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    q, k, values = (t.to(torch.promote_types(t.dtype, torch.float32)) for t in (q, k, v))
    return ((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ values).to(v.dtype)
