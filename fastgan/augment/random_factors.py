# SPDX-License-Identifier: Apache-2.0
"""Random parameters of the transforms: one value per image, neutral where the transform is not
executed.

Drawn by `fastgan.sample_rng` on the device in torch's default dtype, so that a seed gives the same
transforms for every image dtype. Neutral values are written by `masked_fill`, whose scalar is a
kernel argument: a Python scalar in `torch.where` may become a host copy, which a CUDA graph can't
capture.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fastgan import sample_rng
from fastgan.ops.augment_matrices import NORMAL, UNIFORM, Kind


def draw_executed(n: int, p: Tensor) -> Tensor:
    """[n] bool, True with probability p (0-dim, on the images' device): never at 0, always at 1."""
    return sample_rng.uniform(n, device=p.device) < p


def draw_uniform(executed: Tensor, low: float, high: float, *, neutral: float) -> Tensor:
    """U(low, high) of executed's shape where executed, else neutral."""
    value = sample_rng.uniform(*executed.shape, device=executed.device) * (high - low) + low
    return value.masked_fill(~executed, neutral)


def draw_normal(executed: Tensor, std: float) -> Tensor:
    """N(0, std²) of executed's shape where executed, else 0."""
    value = sample_rng.normal(*executed.shape, device=executed.device) * std
    return value.masked_fill(~executed, 0.0)


def draw_lognormal(executed: Tensor, std: float) -> Tensor:
    """exp(N(0, std²)) of executed's shape where executed, else 1."""
    return draw_normal(executed, std).exp()


def draw_numbers(kinds: Sequence[Kind], n: int, p: Tensor) -> list[Tensor]:
    """[n] of each of some kinds, one after another, in torch's default dtype on p's device."""
    return [_draw_number(kind, n, p.device) for kind in kinds]


def _draw_number(kind: Kind, n: int, device: torch.device) -> Tensor:
    if kind == UNIFORM:
        return sample_rng.uniform(n, device=device)
    if kind == NORMAL:
        return sample_rng.normal(n, device=device)
    return sample_rng.integers(0, int(kind), n, device=device, dtype=torch.get_default_dtype())
