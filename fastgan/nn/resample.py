# SPDX-License-Identifier: Apache-2.0
"""FIR resampling to exact sizes: functions on a filter, and the layers that hold one."""

from collections.abc import Sequence

import torch
from torch import nn

from fastgan.nn._shapes import check_at_least_one, check_maps
from fastgan.ops import filter2d, setup_filter, upfirdn2d
from fastgan.ops.upfirdn2d._arguments import centred_down, centred_up


def output_crop(
    layer: str, in_size: Sequence[int], up: int, size: Sequence[int] | None
) -> tuple[int, int]:
    """Rows and columns to crop from an up·H × up·W map to reach a size.

    Args:
        layer: the name that the error gives.
        in_size: (H, W) before the up-sampling.
        up: factor of the up-sampling.
        size: (height, width); None: nothing is cropped.

    Returns:
        Rows at the bottom and columns at the right.

    Raises:
        ValueError: unless up·(n − 1) < size <= up·n per axis, which are just the sizes whose
            ceil-division by ``up`` is n.
    """
    if size is None:
        return 0, 0
    for n, wanted in zip(in_size, size, strict=True):
        if not up * (n - 1) < wanted <= up * n:
            raise ValueError(
                f"{layer}: size must lie within {up * (n - 1) + 1}..{up * n} for an input side of "
                f"{n} and up={up}, got {wanted} in {tuple(size)}; crop or pad the result instead"
            )
    return up * in_size[0] - size[0], up * in_size[1] - size[1]


def upsample_to(
    x: torch.Tensor, f: torch.Tensor, factor: int = 2, size: Sequence[int] | None = None
) -> torch.Tensor:
    """Zero-insertion by ``factor``, then the filter with gain factor²; centred.

    Args:
        x: [N, C, H, W].
        f: a filter of ``setup_filter``.
        factor: of the up-sampling.
        size: (height, width) to crop to at the right and bottom; None: nothing is cropped.

    Returns:
        [N, C, factor·H, factor·W], or of ``size``.
    """
    crop_y, crop_x = output_crop("upsample_to", x.shape[2:], factor, size)
    padding = centred_up((0, -crop_x, 0, -crop_y), (f.shape[0], f.shape[-1]), factor, factor)
    return upfirdn2d(x, f, up=factor, padding=padding, gain=factor**2)


def downsample_to_ceil(x: torch.Tensor, f: torch.Tensor, factor: int = 2) -> torch.Tensor:
    """The filter, centred on each run of ``factor`` pixels, then one pixel per run.

    Args:
        x: [N, C, H, W]; sides that ``factor`` does not divide are read as if zero-padded at the
            right and bottom.
        f: a filter of ``setup_filter``.
        factor: of the down-sampling.

    Returns:
        [N, C, ceil(H / factor), ceil(W / factor)].
    """
    pads = (0, -x.shape[3] % factor, 0, -x.shape[2] % factor)
    padding = centred_down(pads, (f.shape[0], f.shape[-1]), factor, factor)
    return upfirdn2d(x, f, down=factor, padding=padding)


class Upsample(nn.Module):
    """Up-sampling by zero-insertion and an FIR filter.

    ``forward`` takes x [N, C, H, W] and gives y [N, C, factor·H, factor·W]; size=(h, w) crops at
    the right and bottom to any size with ceil(size / factor) = (H, W). The gain factor² keeps the
    mean. It raises ValueError for another x or size.

    Args:
        kernel: taps of the filter, 1-D (an outer product, or separable from 8 taps on) or 2-D,
            normalised to sum 1.
        factor: of the up-sampling, at least 1.

    Source: Karras et al. 2020, appendix B.
    """

    def __init__(self, kernel: Sequence[float] = (1, 3, 3, 1), factor: int = 2) -> None:
        super().__init__()
        check_at_least_one("Upsample", factor=factor)
        self.factor = factor
        self.register_buffer("resample_filter", setup_filter(kernel))

    def forward(self, x: torch.Tensor, size: Sequence[int] | None = None) -> torch.Tensor:
        check_maps("Upsample", x)
        return upsample_to(x, self.resample_filter, self.factor, size)

    def extra_repr(self) -> str:
        return f"taps={tuple(self.resample_filter.shape)}, factor={self.factor}"


class Downsample(nn.Module):
    """Down-sampling by an FIR filter and decimation.

    ``forward`` takes x [N, C, H, W] and gives y [N, C, ceil(H / factor), ceil(W / factor)]. It
    raises ValueError for another x.

    Args:
        kernel: taps of the filter, 1-D (an outer product, or separable from 8 taps on) or 2-D,
            normalised to sum 1.
        factor: of the down-sampling, at least 1.

    Source: Karras et al. 2020, appendix B.
    """

    def __init__(self, kernel: Sequence[float] = (1, 3, 3, 1), factor: int = 2) -> None:
        super().__init__()
        check_at_least_one("Downsample", factor=factor)
        self.factor = factor
        self.register_buffer("resample_filter", setup_filter(kernel))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_maps("Downsample", x)
        return downsample_to_ceil(x, self.resample_filter, self.factor)

    def extra_repr(self) -> str:
        return f"taps={tuple(self.resample_filter.shape)}, factor={self.factor}"


class Blur(nn.Module):
    """Convolution of each map with an FIR filter.

    ``forward`` takes x [N, C, H, W] and gives y of the same shape, if padding is 0. It raises
    ValueError for another x.

    Args:
        kernel: taps of the filter, 1-D (an outer product, or separable from 8 taps on) or 2-D,
            normalised to sum 1.
        padding: pixels added to the padding that centres the filter: an int, (x, y) or
            (x0, x1, y0, y1); negative ones crop.
    """

    def __init__(
        self, kernel: Sequence[float] = (1, 3, 3, 1), padding: int | Sequence[int] = 0
    ) -> None:
        super().__init__()
        self.padding = padding
        self.register_buffer("resample_filter", setup_filter(kernel))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        check_maps("Blur", x)
        return filter2d(x, self.resample_filter, padding=self.padding)

    def extra_repr(self) -> str:
        return f"taps={tuple(self.resample_filter.shape)}, padding={self.padding}"
