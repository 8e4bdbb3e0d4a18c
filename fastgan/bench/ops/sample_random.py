# SPDX-License-Identifier: Apache-2.0
"""sample_random at the noise of StyleGAN2's largest layers: one map per sample, float32.

The tensor that a case takes says the shape alone. On a CPU both sides make the words in one kernel
and the numbers by torch's functions, so that what is compared is the kernel for the words.
"""

import math

import torch

from fastgan.bench.op_case import GpuWork, OpCase
from fastgan.ops import sample_random
from fastgan.ops.sample_random import Place


def cases() -> list[OpCase]:
    return [_case((8, 1, 64, 64), is_quick=True), _case((32, 1, 256, 256))]


def _place(x: torch.Tensor) -> Place:
    return Place(torch.zeros([], dtype=torch.int64, device=x.device), 1, 0, 1, 0)


def _draw(x: torch.Tensor) -> torch.Tensor:
    shape, place = tuple(x.shape), _place(x)
    if sample_random.is_drawn_at_once(x.device):
        return sample_random.normal(place, shape, x.dtype)
    size = math.prod(shape[1:])
    words = sample_random.sample_words(place, shape[0], (size + 1) // 2)
    return sample_random.normal_of(words, size, x.dtype).reshape(shape)


def _plain(x: torch.Tensor) -> torch.Tensor:
    size = math.prod(x.shape[1:])
    words = sample_random.sample_words_ref(*_place(x), x.shape[0], (size + 1) // 2)
    return sample_random.normal_of(words, size, x.dtype).reshape(x.shape)


def _case(shape: tuple[int, ...], **options) -> OpCase:
    n = math.prod(shape)
    return OpCase(
        op="sample_random",
        name=f"normal {'x'.join(map(str, shape))}",
        shapes=(shape,),
        run=_draw,
        plain=_plain,
        floor_elements={"forward": n, "forward+backward": 0, "double": 0},
        gpu_work={"forward": GpuWork(moved_elements=n)},
        **options,
    )
