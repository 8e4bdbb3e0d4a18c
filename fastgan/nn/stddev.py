# SPDX-License-Identifier: Apache-2.0
"""Minibatch standard deviation."""

import torch
from torch import nn

from fastgan.nn._shapes import check_at_least_one, check_maps
from fastgan.ops import minibatch_stddev


class MinibatchStddev(nn.Module):
    """Append ``num_channels`` maps holding how much the samples of a group differ.

    The batch is cut into N / G groups, sample n belonging to group n mod (N / G), with G the
    largest divisor of N that is at most ``group_size`` (None: N). Channels are cut into
    F = num_channels runs. Per group and run:
    mean over (channel, y, x) of sqrt(Var_group(x) + 1e-8).

    ``forward`` takes x [N, C, H, W] and gives [N, C + num_channels, H, W], of x's dtype and memory
    format; statistics are in float32 at least. G = 1 (a batch of one, or a prime N > group_size)
    gives the constant 1e-4. It raises ValueError when C is not divisible by ``num_channels``.

    Args:
        group_size: the most samples that are compared, at least 1; None: the whole batch.
        num_channels: maps that are appended, at least 1.

    Source: Karras et al. 2018, section 3, with groups as in Karras et al. 2020.
    """

    def __init__(self, group_size: int | None = 4, num_channels: int = 1) -> None:
        super().__init__()
        check_at_least_one("MinibatchStddev", num_channels=num_channels)
        if group_size is not None:
            check_at_least_one("MinibatchStddev", group_size=group_size)
        self.group_size = group_size
        self.num_channels = num_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_maps("MinibatchStddev", x)
        channels, height, width = x.shape[1:]
        if channels % self.num_channels:
            raise ValueError(
                f"MinibatchStddev: x must have a multiple of num_channels={self.num_channels} "
                f"channels, got shape {tuple(x.shape)}; choose num_channels dividing {channels}"
            )
        y = minibatch_stddev(x, self.group_size, self.num_channels)  # [N, num_channels]
        y = y[:, :, None, None].expand(-1, -1, height, width)
        channels_last = x.is_contiguous(memory_format=torch.channels_last)
        keep = torch.channels_last if channels_last else torch.contiguous_format
        return torch.cat([x, y.contiguous(memory_format=keep)], 1)

    def extra_repr(self) -> str:
        return f"group_size={self.group_size}, num_channels={self.num_channels}"
