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
    # The kernel also writes the energies; the gradients are two matrix products on them and their
    # like, and one pass over w. float32 beside bfloat16 counts twice. The second pass is plain
    # torch: about five passes over w and its gradients, and products of [N, O], [O, I], [N, I].
    wide = 4 // options.get("dtype", torch.float32).itemsize
    forward = weights + wide * (energies + small)
    backward = 2 * weights + wide * (4 * energies + 6 * small)
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
            "forward+backward": GpuWork(moved_elements=forward + backward, launches=13),
            "double": GpuWork(
                moved_elements=forward + backward + 11 * weights + wide * 12 * energies,
                launches=41,
            ),
        },
        **options,
    )  # fmt: skip
