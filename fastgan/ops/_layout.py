# SPDX-License-Identifier: Apache-2.0
"""The memory format that an op's output takes: the same rule for reference, fake and native."""

import torch
from torch._C import _functorch


def dense_format(x: torch.Tensor) -> torch.memory_format:
    """channels_last(_3d) where `x` is dense in it (and not also contiguous), else contiguous.

    Under vmap, where torch cannot tell, it is contiguous. torch.compile traces through vmap by
    itself and cannot trace the question, so that it is not asked there.
    """
    if not x.is_contiguous() and (torch.compiler.is_compiling() or not _is_batched(x)):
        if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            return torch.channels_last
        if x.dim() == 5 and x.is_contiguous(memory_format=torch.channels_last_3d):
            return torch.channels_last_3d
    return torch.contiguous_format


def _is_batched(x: torch.Tensor) -> bool:
    """Whether one of the transforms of torch.func around `x` is vmap."""
    while _functorch.is_functorch_wrapped_tensor(x):
        if _functorch.is_batchedtensor(x):
            return True
        x = _functorch.get_unwrapped(x)
    return False


def empty_dense(x: torch.Tensor) -> torch.Tensor:
    """Uninitialised tensor of x's shape and dtype in x's dense format."""
    return torch.empty_like(x, memory_format=dense_format(x))
