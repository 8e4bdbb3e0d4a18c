"""upfirdn2d: up-sample by zero insertion, pad or crop, filter, scale, down-sample, in one pass.

For each plane of x [N, C, H, W]:

    1. insert up - 1 zeros after every sample            [H·up_y, W·up_x]
    2. pad (negative: crop), in up-sampled pixels        [H·up_y + y0 + y1, W·up_x + x0 + x1]
    3. convolve with f (flip_filter=True: correlate)     valid positions only
    4. multiply by gain
    5. keep every down-th sample, the first included

    OH = (H·up_y + y0 + y1 - taps_y) // down_y + 1       and likewise OW

It is linear in x, and its adjoint is an upfirdn2d with up and down exchanged and the filter
flipped: derivatives of any order. f is a constant: it takes no gradient. Capturable.
Source: Crochiere & Rabiner, "Multirate Digital Signal Processing" (1983); Karras et al. (2020).
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op
from fastgan.ops._layout import dense_format
from fastgan.ops._operands import check_device, check_floating, compute_dtype
from fastgan.ops._torch_conv import convolve

__all__ = ["downsample2d", "filter2d", "setup_filter", "upfirdn2d", "upsample2d"]

_SEPARABLE_FROM_TAPS = 8
_MOST_SAMPLES = 2**31 - 1  # along one axis: kernels count them in 32 bits


def _taps(f: torch.Tensor) -> tuple[int, int]:
    """Filter height and width; a 1-D f is separable and square."""
    return (f.shape[0], f.shape[0]) if f.dim() == 1 else (f.shape[0], f.shape[1])


def _output_size(x, f, up_x, up_y, down_x, down_y, x0, x1, y0, y1):
    fh, fw = _taps(f)
    return (
        (x.shape[2] * up_y + y0 + y1 - fh) // down_y + 1,
        (x.shape[3] * up_x + x0 + x1 - fw) // down_x + 1,
    )


def upfirdn2d_ref(x, f, up_x, up_y, down_x, down_y, x0, x1, y0, y1, flip_filter, gain):
    """The definition of `fastgan.ops.upfirdn2d` in differentiable PyTorch.

    Arguments are those of `fastgan.ops.upfirdn2d`, all given, with the pairs as up_x, up_y, down_x,
    down_y and the padding as x0, x1, y0, y1.

    Returns:
        [N, C, OH, OW], x.dtype.
    """
    n, c, h, w = x.shape
    size = _output_size(x, f, up_x, up_y, down_x, down_y, x0, x1, y0, y1)
    if x.numel() == 0 or 0 in size:  # a convolution takes neither
        return x.new_zeros(n, c, *size) + x.sum()
    y = x.reshape(n, c, h, 1, w, 1)
    y = F.pad(y, [0, up_x - 1, 0, 0, 0, up_y - 1]).reshape(n, c, h * up_y, w * up_x)
    pads = [x0, x1, y0, y1]
    y = F.pad(y, [max(p, 0) for p in pads])  # first, so that a crop may reach into the padding
    y = F.pad(y, [min(p, 0) for p in pads])
    if not flip_filter:
        f = f.flip(list(range(f.dim())))
    scaled, f = (f * gain).to(x.dtype), f.to(x.dtype)  # the gain is applied once
    if f.dim() == 2:
        kernel = scaled.expand(c, 1, *f.shape)
        return convolve(y, kernel, stride=(down_y, down_x), groups=c)
    rows, columns = f.reshape(1, 1, 1, -1), scaled.reshape(1, 1, -1, 1)
    y = convolve(y, rows.expand(c, 1, 1, -1), stride=(1, down_x), groups=c)
    return convolve(y, columns.expand(c, 1, -1, 1), stride=(down_y, 1), groups=c)


def _forward(x, f, *options):
    return upfirdn2d_ref(x, f, *options).contiguous(memory_format=dense_format(x))


def _fake(x, f, up_x, up_y, down_x, down_y, x0, x1, y0, y1, flip_filter, gain):
    size = _output_size(x, f, up_x, up_y, down_x, down_y, x0, x1, y0, y1)
    return torch.empty(
        (x.shape[0], x.shape[1], *size),
        dtype=x.dtype,
        device=x.device,
        memory_format=dense_format(x),
    )


def _setup(ctx, inputs, output):
    x, f, *options = inputs
    ctx.size = x.shape[2:]
    ctx.options = options
    ctx.save_for_backward(f)


def adjoint(dy, f, options, size):
    """The adjoint of upfirdn2d with resolved `options`, of a map x of `size` = (height, width)."""
    up_x, up_y, down_x, down_y, x0, _x1, y0, _y1, flip_filter, gain = options
    fh, fw = _taps(f)
    h, w = size
    return _op(
        dy,
        f,
        down_x,
        down_y,
        up_x,
        up_y,
        fw - x0 - 1,
        w * up_x - dy.shape[3] * down_x + x0 - up_x + 1,
        fh - y0 - 1,
        h * up_y - dy.shape[2] * down_y + y0 - up_y + 1,
        not flip_filter,
        gain,
    )


def _backward(ctx, dy):
    (f,) = ctx.saved_tensors
    return adjoint(dy, f, ctx.options, ctx.size), *(None,) * 11


_op = define_op(
    "upfirdn2d(Tensor x, Tensor f, int up_x, int up_y, int down_x, int down_y, SymInt x0, "
    "SymInt x1, SymInt y0, SymInt y1, bool flip_filter, float gain) -> Tensor",
    reference=_forward,
    fake=_fake,
    backward=_backward,
    setup_context=_setup,
)


def _whole(value: int | Sequence[int], count: int) -> tuple:
    """A sequence as a tuple, anything else `count` times; NumPy's integers as int."""
    values = tuple(value) if isinstance(value, Sequence | np.ndarray) else (value,) * count
    return tuple(int(v) if isinstance(v, np.integer) else v for v in values)


def _pair(op: str, name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """(x, y) from an int or a pair of ints ≥ 1."""
    pair = _whole(value, 2)
    if len(pair) != 2 or not all(isinstance(v, int) and v >= 1 for v in pair):
        raise ValueError(f"{op}: {name} must be an int ≥ 1 or a pair [x, y] of them, got {value!r}")
    return pair


def _padding(op: str, value: int | Sequence[int]) -> tuple[int, int, int, int]:
    """(x0, x1, y0, y1) from an int, [x, y] or [x0, x1, y0, y1]."""
    pads = _whole(value, 4)
    if len(pads) == 2:
        pads = (pads[0], pads[0], pads[1], pads[1])
    if len(pads) != 4 or not all(isinstance(v, int | torch.SymInt) for v in pads):
        raise ValueError(
            f"{op}: padding must be an int, [x, y] or [x0, x1, y0, y1] in up-sampled pixels, "
            f"got {value!r}"
        )
    return pads


def centred_up(pads, taps, up_x, up_y):
    """`pads` (x0, x1, y0, y1) and what centres a filter of `taps` = (height, width) on the samples
    between which it fills in: with padding 0, H rows become up_y·H."""
    x0, x1, y0, y1 = pads
    fh, fw = taps
    return (
        x0 + (fw + up_x - 1) // 2,
        x1 + (fw - up_x) // 2,
        y0 + (fh + up_y - 1) // 2,
        y1 + (fh - up_y) // 2,
    )


def centred_down(pads, taps, down_x, down_y):
    """The same on each run of samples of which one is kept: H rows become ⌊H / down_y⌋."""
    x0, x1, y0, y1 = pads
    fh, fw = taps
    return (
        x0 + (fw - down_x + 1) // 2,
        x1 + (fw - down_x) // 2,
        y0 + (fh - down_y + 1) // 2,
        y1 + (fh - down_y) // 2,
    )


def _filter(op: str, f: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    dtype = compute_dtype(x)
    if f is None:
        return torch.ones(1, 1, dtype=dtype, device=x.device)
    if not isinstance(f, torch.Tensor) or f.dim() not in (1, 2) or f.numel() == 0:
        got = tuple(f.shape) if isinstance(f, torch.Tensor) else f
        raise ValueError(
            f"{op}: f must be a tensor [taps] (separable) or [taps_y, taps_x], got {got}; "
            "make it with setup_filter"
        )
    if f.requires_grad:
        raise ValueError(f"{op}: f is a constant and takes no gradient; pass f.detach()")
    check_device(op, "f", f, x)
    return f.to(dtype)


def _check_input(op: str, x: torch.Tensor) -> None:
    if x.dim() != 4:
        raise ValueError(f"{op}: x must be [N, C, H, W], got shape {tuple(x.shape)}; reshape it")
    check_floating(op, "x", x)


def setup_filter(
    f: torch.Tensor | Sequence | float | None,
    device: torch.device | str | None = None,
    normalize: bool = True,
    flip_filter: bool = False,
    gain: float = 1.0,
    separable: bool | None = None,
) -> torch.Tensor:
    """Prepare a filter for `upfirdn2d` and the functions built on it.

    Args:
        f: taps as a tensor or sequence, [taps] or [taps_y, taps_x]; a number or None is one tap.
        device: where the result lives; None keeps f's.
        normalize: divide by the sum, so that a constant image keeps its value.
        flip_filter: reverse the taps once here.
        gain: overall factor: a 1-D result, which is applied twice, is scaled by √gain.
        separable: keep a 1-D f 1-D (True) or make it its outer product (False); None keeps 8 taps
            or more 1-D, where two passes are cheaper.

    Returns:
        [taps] or [taps_y, taps_x], float32.

    Raises:
        ValueError: f has another shape or sums to 0 where normalised, separable=True with a 2-D f,
            or gain < 0 with a 1-D result.
    """
    f = torch.as_tensor(1.0 if f is None else f, dtype=torch.float32, device=device)
    if f.dim() > 2 or f.numel() == 0:
        raise ValueError(
            f"setup_filter: f must be a number, [taps] or [taps_y, taps_x], got {tuple(f.shape)}"
        )
    if f.dim() == 0:
        f = f.reshape(1)
    if separable is None:
        separable = f.dim() == 1 and f.numel() >= _SEPARABLE_FROM_TAPS
    if f.dim() == 1 and not separable:
        f = f.outer(f)
    if separable and f.dim() == 2:
        raise ValueError(
            "setup_filter: separable=True needs a 1-D f, got shape "
            f"{tuple(f.shape)}; pass the taps of one axis"
        )
    if normalize:
        total = f.sum()
        words = "setup_filter: the taps sum to 0; pass normalize=False"
        if torch.compiler.is_compiling():  # where a branch on a value would break the graph
            torch._assert_async(total != 0, words)
        elif not f.is_meta and not bool(total):
            raise ValueError(words)
        f = f / total
    if flip_filter:
        f = f.flip(list(range(f.dim())))
    if gain < 0 and f.dim() == 1:
        raise ValueError(
            "setup_filter: a separable filter cannot have a gain < 0; pass it to the op"
        )
    return f * gain ** (f.dim() / 2)


def _named(op, x, up, padding):
    return f"{op}: x of {x.shape[2]}×{x.shape[3]} with up {up}, padding {padding}"


def _run(op, x, f, up, down, padding, flip_filter, gain):
    """`f`, `up`, `down`, `padding` are validated; checks the sizes that they make together."""
    options, (fh, fw), (x0, x1, y0, y1) = (*up, *down, *padding), _taps(f), padding
    width = x.shape[3] * up[0] + abs(x0) + abs(x1) + fw
    height = x.shape[2] * up[1] + abs(y0) + abs(y1) + fh
    if width > _MOST_SAMPLES or height > _MOST_SAMPLES:
        raise ValueError(
            f"{_named(op, x, up, padding)} spans {height}×{width} samples with the filter, "
            f"expected at most {_MOST_SAMPLES} along each axis; split x or pad less"
        )
    if any(size < 1 for size in _output_size(x, f, *options)):
        raise ValueError(
            f"{_named(op, x, up, padding)} is smaller than the {fh}×{fw} filter; pad more"
        )
    if reference_is_forced():
        return upfirdn2d_ref(x, f, *options, flip_filter, gain)
    return _op(x, f, *options, flip_filter, gain)


def upfirdn2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    up: int | Sequence[int] = 1,
    down: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """Up-sample by zero insertion, pad or crop, filter, scale and down-sample planes, in one pass.

    The steps stand at the top of fastgan/ops/upfirdn2d.py. Derivatives of any order; capturable in
    a CUDA graph.

    Args:
        x: [N, C, H, W], float64, float32, bfloat16 or float16; any strides.
        f: [taps] (separable) or [taps_y, taps_x] from `setup_filter`; None is one tap of 1. Takes
            no gradient.
        up: zero-insertion factor, an int or [x, y].
        down: decimation factor, an int or [x, y].
        padding: an int, [x, y] or [x0, x1, y0, y1], in up-sampled pixels; negative crops.
        flip_filter: False convolves, True correlates.
        gain: overall factor, applied once; may be negative.

    Returns:
        [N, C, OH, OW], x.dtype, channels_last where x is, else contiguous.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: an argument does not fit, or x with its padding is smaller than the filter.

    Example:
        f = fastgan.ops.setup_filter([1, 3, 3, 1])
        y = fastgan.ops.upfirdn2d(torch.randn(1, 3, 8, 8), f, up=2, padding=[2, 1], gain=4)
    """
    _check_input("upfirdn2d", x)
    f = _filter("upfirdn2d", f, x)
    up, down = _pair("upfirdn2d", "up", up), _pair("upfirdn2d", "down", down)
    return _run(
        "upfirdn2d", x, f, up, down, _padding("upfirdn2d", padding), flip_filter, float(gain)
    )


def filter2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """Filter x to the same size.

    An `upfirdn2d` with centred padding; the centre of an even filter is half a pixel to the left of
    its middle. Derivatives of any order.

    Args:
        x: [N, C, H, W], float64, float32, bfloat16 or float16; any strides.
        f: [taps] (separable) or [taps_y, taps_x] from `setup_filter`; None is one tap of 1. Takes
            no gradient.
        padding: an int, [x, y] or [x0, x1, y0, y1], added to the output's size; negative crops.
        flip_filter: False convolves, True correlates.
        gain: overall factor, applied once; may be negative.

    Returns:
        [N, C, H, W] (plus padding), x.dtype, channels_last where x is, else contiguous.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: an argument does not fit, or x with its padding is smaller than the filter.
    """
    _check_input("filter2d", x)
    f = _filter("filter2d", f, x)
    pads = centred_up(_padding("filter2d", padding), _taps(f), 1, 1)
    return _run("filter2d", x, f, (1, 1), (1, 1), pads, flip_filter, float(gain))


def upsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    up: int | Sequence[int] = 2,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """Up-sample x by an integer factor with a filter, keeping its mean.

    An `upfirdn2d` with centred padding and up_x·up_y times the gain. Derivatives of any order.

    Args:
        x: [N, C, H, W], float64, float32, bfloat16 or float16; any strides.
        f: [taps] (separable) or [taps_y, taps_x] from `setup_filter`; None is one tap of 1. Takes
            no gradient.
        up: factor, an int or [x, y].
        padding: an int, [x, y] or [x0, x1, y0, y1], added in up-sampled pixels; negative crops.
        flip_filter: False convolves, True correlates.
        gain: overall factor, applied once; may be negative.

    Returns:
        [N, C, H·up_y, W·up_x] (plus padding), x.dtype, channels_last where x is, else contiguous.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: an argument does not fit, or x with its padding is smaller than the filter.
    """
    _check_input("upsample2d", x)
    f = _filter("upsample2d", f, x)
    ux, uy = _pair("upsample2d", "up", up)
    pads = centred_up(_padding("upsample2d", padding), _taps(f), ux, uy)
    return _run("upsample2d", x, f, (ux, uy), (1, 1), pads, flip_filter, float(gain) * ux * uy)


def downsample2d(
    x: torch.Tensor,
    f: torch.Tensor | None,
    down: int | Sequence[int] = 2,
    padding: int | Sequence[int] = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """Down-sample x by an integer factor with a filter.

    An `upfirdn2d` with centred padding. H and W that the factor does not divide are rounded down.
    Derivatives of any order.

    Args:
        x: [N, C, H, W], float64, float32, bfloat16 or float16; any strides.
        f: [taps] (separable) or [taps_y, taps_x] from `setup_filter`; None is one tap of 1. Takes
            no gradient.
        down: factor, an int or [x, y].
        padding: an int, [x, y] or [x0, x1, y0, y1], added in input pixels; negative crops.
        flip_filter: False convolves, True correlates.
        gain: overall factor, applied once; may be negative.

    Returns:
        [N, C, H // down_y, W // down_x] (with padding 0), x.dtype, channels_last where x is, else
        contiguous.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: an argument does not fit, or x with its padding is smaller than the filter.
    """
    _check_input("downsample2d", x)
    f = _filter("downsample2d", f, x)
    dx, dy = _pair("downsample2d", "down", down)
    pads = centred_down(_padding("downsample2d", padding), _taps(f), dx, dy)
    return _run("downsample2d", x, f, (1, 1), (dx, dy), pads, flip_filter, float(gain))
