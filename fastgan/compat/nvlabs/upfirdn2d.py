"""`torch_utils.ops.upfirdn2d`: pairs are [x, y], a filter convolves unless it is flipped."""

from collections.abc import Sequence

import torch

from fastgan import ops
from fastgan.compat._impl import chosen
from fastgan.ops.upfirdn2d import _padding as _pads
from fastgan.ops.upfirdn2d import _pair, _taps

Pair = int | Sequence[int]


def setup_filter(
    f: torch.Tensor | Sequence | float | None,
    device: torch.device | str = "cpu",
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1,
    separable: bool | None = None,
) -> torch.Tensor:
    """`fastgan.ops.setup_filter`, on the CPU unless told otherwise."""
    return ops.setup_filter(f, device, normalize, flip_filter, gain, separable)


def upfirdn2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    up: Pair = 1,
    down: Pair = 1,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> torch.Tensor:
    """`fastgan.ops.upfirdn2d`."""
    with chosen("upfirdn2d", impl):
        return ops.upfirdn2d(x, f, up, down, padding, flip_filter, gain)


def filter2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> torch.Tensor:
    """`fastgan.ops.filter2d`."""
    with chosen("filter2d", impl):
        return ops.filter2d(x, f, padding, flip_filter, gain)


def upsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    up: Pair = 2,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> torch.Tensor:
    """`fastgan.ops.upsample2d`: the gain is multiplied by up_x·up_y."""
    with chosen("upsample2d", impl):
        return ops.upsample2d(x, f, up, padding, flip_filter, gain)


def downsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    down: Pair = 2,
    padding: Pair = 0,
    flip_filter: bool = False,
    gain: float = 1,
    impl: str = "cuda",
) -> torch.Tensor:
    """`fastgan.ops.downsample2d`."""
    with chosen("downsample2d", impl):
        return ops.downsample2d(x, f, down, padding, flip_filter, gain)


# Networks built on these modules call them, too.


def _parse_scaling(scaling: Pair) -> tuple[int, int]:
    return _pair("upfirdn2d", "scaling", scaling)


def _parse_padding(padding: Pair) -> tuple[int, int, int, int]:
    return _pads("upfirdn2d", padding)


def _get_filter_size(f: torch.Tensor | None) -> tuple[int, int]:
    """(width, height)."""
    return (1, 1) if f is None else _taps(f)[::-1]
