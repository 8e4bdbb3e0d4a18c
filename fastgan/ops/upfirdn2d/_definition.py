# SPDX-License-Identifier: Apache-2.0
"""upfirdn2d as an op of torch: its definition in PyTorch, its adjoint and its derivative."""

import torch
import torch.nn.functional as F

from fastgan.ops._define import define_op
from fastgan.ops._layout import dense_format
from fastgan.ops._torch_conv import convolve
from fastgan.ops.upfirdn2d._arguments import taps_of


def output_size(x, f, up_x, up_y, down_x, down_y, x0, x1, y0, y1):
    fh, fw = taps_of(f)
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
    size = output_size(x, f, up_x, up_y, down_x, down_y, x0, x1, y0, y1)
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
    size = output_size(x, f, up_x, up_y, down_x, down_y, x0, x1, y0, y1)
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


def _adjoint(dy, f, options, size):
    """The adjoint of upfirdn2d with resolved `options`, of a map x of `size` = (height, width)."""
    up_x, up_y, down_x, down_y, x0, _x1, y0, _y1, flip_filter, gain = options
    fh, fw = taps_of(f)
    h, w = size
    return upfirdn2d_op(
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
    return _adjoint(dy, f, ctx.options, ctx.size), *(None,) * 11


upfirdn2d_op = define_op(
    "upfirdn2d(Tensor x, Tensor f, int up_x, int up_y, int down_x, int down_y, SymInt x0, "
    "SymInt x1, SymInt y0, SymInt y1, bool flip_filter, float gain) -> Tensor",
    reference=_forward,
    fake=_fake,
    backward=_backward,
    setup_context=_setup,
)
