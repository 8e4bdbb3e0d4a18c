# SPDX-License-Identifier: Apache-2.0
"""What the tests of winograd_strided_conv2d by 3×3 and by 4×4 taps have in common."""

import pytest
import torch
import torch.nn.functional as F
from _tolerances import errors

from fastgan.ops.winograd_strided_conv2d import LARGEST_AMX_ERROR, strided_size

CL = torch.channels_last
CONV = torch.ops.fastgan.winograd_strided_conv2d.default
TRANSPOSED = torch.ops.fastgan.winograd_strided_conv2d_transposed.default
WEIGHT = torch.ops.fastgan.winograd_strided_conv2d_weight.default


def require_amx(module):
    if module.active_isa() != "amx":
        pytest.skip("this processor has no AMX, or FASTGAN_ISA forbids it")


def sizes(h, w, padding, side=3):
    return strided_size(h, padding[0], side), strided_size(w, padding[1], side)


def plain(x, w, dy, padding, dtype=torch.float64):
    """y, dx and dw by torch's convolutions."""
    x, w, dy = (t.detach().to(dtype) for t in (x, w, dy))
    x.requires_grad_(), w.requires_grad_()
    y = F.conv2d(x, w, stride=2, padding=padding)
    return (y.detach(), *torch.autograd.grad(y, [x, w], dy))


def check_direct_sums(shape, layout, side, device):
    """The three ops on AMX in the units of plain sums, with weights in this order of strides."""
    n, c, k, h, w, padding = shape
    shapes = (n, c, h, w), (k, c, side, side), (n, k, *sizes(h, w, padding, side))
    fmt = CL if layout == "channels_last" else torch.contiguous_format
    x, weight, dy = (torch.randn(s, device=device).contiguous(memory_format=fmt) for s in shapes)
    got = (
        CONV(x, weight, *padding),
        TRANSPOSED(dy, weight, *padding, h, w),
        WEIGHT(x, dy, *padding, side),
    )
    want = plain(x, weight, dy, padding)
    scale = plain(x.abs(), weight.abs(), dy.abs(), padding)
    for what, *of in zip(("y", "dx", "dw"), got, want, scale, strict=True):
        assert float(errors(*of).max()) <= 1.5 * LARGEST_AMX_ERROR, what


def check_that_threads_change_no_bit(x, w, dy):
    """Of the three ops without padding."""
    results, threads = [], torch.get_num_threads()
    size, side = x.shape[2:], w.shape[2]
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append(
                (CONV(x, w, 0, 0), TRANSPOSED(dy, w, 0, 0, *size), WEIGHT(x, dy, 0, 0, side))
            )
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))
