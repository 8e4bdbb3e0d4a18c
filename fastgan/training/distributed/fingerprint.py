# SPDX-License-Identifier: Apache-2.0
"""`fingerprint`: one number by which ranks compare the bits of a tensor."""

import torch
from torch import Tensor

__all__ = ["fingerprint"]

_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # odd: fingerprints multiply by odd numbers


@torch.no_grad()
def fingerprint(tensor: Tensor) -> Tensor:
    """int64 []: Σ bits_i·(2i + 1)·γ modulo 2^64; a change of any one element changes it."""
    flat = tensor.detach().contiguous().reshape(-1)
    if flat.is_floating_point():
        flat = flat.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.element_size()])
    odd = torch.arange(len(flat), device=flat.device).mul_(2).add_(1).mul_(_GAMMA)
    return odd.mul_(flat).sum()
