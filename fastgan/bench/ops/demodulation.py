# SPDX-License-Identifier: Apache-2.0
"""demodulation at the sizes of StyleGAN2's synthesis layers: 3 × 3 taps, float32 weights."""

import math

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops import demodulation
from fastgan.ops.demodulation import demodulation_ref


def cases() -> list[OpCase]:
    return [
        _case((64, 64, 3, 3), 8, is_quick=True),
        _case((512, 512, 3, 3), 8, is_quick=True),
        _case((512, 512, 3, 3), 32),
        _case((256, 512, 3, 3), 32),
        _case((512, 512, 3, 3), 32, dtype=torch.bfloat16),
    ]


def _case(w: tuple[int, ...], n: int, **options) -> OpCase:
    outputs, inputs = w[:2]
    weights, energies, small = math.prod(w), outputs * inputs, n * (outputs + inputs)
    # Forward reads w and s, writes d. Backward reads w, writes dw; d, s and their gradients once.
    # The kernel also writes the energies, and that of the gradients reads them once. float32 beside
    # bfloat16 counts twice. The second pass: two more backward kernels, one on ddw and one on the
    # gradients of d and e, a product per channel of w and ddw, the sum of w's two gradients, and
    # plain torch on [N, O], [O, I] and [N, I].
    wide = 4 // options.get("dtype", torch.float32).itemsize
    forward = weights + wide * (energies + small)
    backward = 2 * weights + wide * (energies + 2 * small)
    return OpCase(
        op="demodulation",
        name=f"{'x'.join(map(str, w))} for {n}",
        shapes=(w, (n, inputs)),
        run=demodulation,
        plain=lambda w, s: demodulation_ref(w, s.to(torch.promote_types(w.dtype, torch.float32)),
                                            1e-8)[0],
        floor_elements={
            "forward": weights + small,
            "forward+backward": 3 * weights + 2 * small,
            "double": 5 * weights + 4 * small,
        },
        gpu_work={
            "forward": GpuWork(moved_elements=forward),
            "forward+backward": GpuWork(moved_elements=forward + backward, launches=2),
            "double": GpuWork(
                moved_elements=forward + backward + 9 * weights + wide * 16 * energies,
                launches=19,
            ),
        },
        **options,
    )  # fmt: skip
