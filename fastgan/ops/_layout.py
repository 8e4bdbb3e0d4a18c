"""The memory format that an op's output takes: the same rule for reference, fake and native."""

import torch


def dense_format(x: torch.Tensor) -> torch.memory_format:
    """channels_last(_3d) where `x` is dense in it (and not also contiguous), else contiguous."""
    if not x.is_contiguous():
        if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            return torch.channels_last
        if x.dim() == 5 and x.is_contiguous(memory_format=torch.channels_last_3d):
            return torch.channels_last_3d
    return torch.contiguous_format


def empty_dense(x: torch.Tensor) -> torch.Tensor:
    """Uninitialised tensor of x's shape and dtype in x's dense format."""
    return torch.empty_like(x, memory_format=dense_format(x))
