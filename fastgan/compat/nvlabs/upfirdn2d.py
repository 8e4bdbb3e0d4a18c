# SPDX-License-Identifier: Apache-2.0
"""`torch_utils.ops.upfirdn2d`: pairs are [x, y], a filter convolves unless it is flipped."""

from collections.abc import Sequence

import torch

from fastgan import ops
from fastgan.compat._forwarding import forwarded
from fastgan.ops.upfirdn2d._arguments import padding_of, pair_of, taps_of

upfirdn2d = forwarded(ops.upfirdn2d)
filter2d = forwarded(ops.filter2d)
upsample2d = forwarded(ops.upsample2d)
downsample2d = forwarded(ops.downsample2d)


def setup_filter(
    f: torch.Tensor | Sequence | float | None,
    device: torch.device | str = "cpu",
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1,
    separable: bool | None = None,
) -> torch.Tensor:
    """`fastgan.ops.setup_filter`, with a result on the CPU by default.

    Arguments are those of `fastgan.ops.setup_filter`.
    """
    return ops.setup_filter(f, device, normalize, flip_filter, gain, separable)


# Networks built on this module call these, too.


def _parse_scaling(scaling: int | Sequence[int]) -> tuple[int, int]:
    return pair_of("upfirdn2d", "scaling", scaling)


def _parse_padding(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    return padding_of("upfirdn2d", padding)


def _get_filter_size(f: torch.Tensor | None) -> tuple[int, int]:
    """(width, height)."""
    return (1, 1) if f is None else taps_of(f)[::-1]
