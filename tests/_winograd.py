# SPDX-License-Identifier: Apache-2.0
"""What the tests of the Winograd ops have in common: what rounding is relative to, and checks of
`winograd_strided_conv2d` by 3×3 and by 4×4 taps."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _tolerances import errors, numpy64

from fastgan.ops.winograd_strided_conv2d import LARGEST_AMX_ERROR, strided_size

CL = torch.channels_last
CONV = torch.ops.fastgan.winograd_strided_conv2d.default
TRANSPOSED = torch.ops.fastgan.winograd_strided_conv2d_transposed.default
WEIGHT = torch.ops.fastgan.winograd_strided_conv2d_weight.default


def matrices():
    """B, G, A of F(4, 3) from the points alone: y = Aᵀ[(G w) ⊙ (Bᵀ d)]."""
    points = [0.0, 0.75, -0.75, 1.5, -1.5]
    polynomial = np.polynomial.polynomial
    B, G, A = np.zeros((6, 6)), np.zeros((6, 3)), np.zeros((6, 4))
    for i, p in enumerate(points):
        others = points[:i] + points[i + 1 :]
        B[:5, i] = polynomial.polyfromroots(others)
        G[i] = p ** np.arange(3) / np.prod([p - q for q in others])
        A[i] = p ** np.arange(4)
    B[:, 5] = polynomial.polyfromroots(points)
    G[5, 2] = A[5, 3] = 1
    return B, G, A


def tiles(maps, size, step, before, count):
    """[n, c, rows, columns, size, size]: overlapping squares of zero-padded maps."""
    n, c, h, w = maps.shape
    shape = [step * (k - 1) + size for k in count]
    padded = np.zeros((n, c, *shape))
    h, w = (min(a, s - b) for a, s, b in zip((h, w), shape, before, strict=True))
    padded[:, :, before[0] : before[0] + h, before[1] : before[1] + w] = maps[:, :, :h, :w]
    view = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    return view[:, :, ::step, ::step]


def conv_scale(x, w, padding):
    """Σ of the magnitudes that F(4×4, 3×3) adds up, per output: what rounding is relative to."""
    B, G, A = (np.abs(m) for m in matrices())
    x, w = np.abs(numpy64(x)), np.abs(numpy64(w))
    oh, ow = (x.shape[2 + i] + 2 * padding[i] - 2 for i in range(2))
    d = tiles(x, 6, 4, padding, (-(-oh // 4), -(-ow // 4)))
    V = np.einsum("ai,nchwab,bj->nchwij", B, d, B, optimize=True)
    U = np.einsum("ia,kcab,jb->kcij", G, w, G, optimize=True)
    M = np.einsum("nchwij,kcij->nkhwij", V, U, optimize=True)
    y = np.einsum("ia,nkhwij,jb->nkhawb", A, M, A, optimize=True)
    n, k, rows, _, columns, _ = y.shape
    return y.reshape(n, k, rows * 4, columns * 4)[:, :, :oh, :ow]


def weight_scale(x, dy, padding):
    B, G, A = (np.abs(m) for m in matrices())
    x, dy = np.abs(numpy64(x)), np.abs(numpy64(dy))
    count = [-(-s // 4) for s in dy.shape[2:]]
    V = np.einsum("ai,nchwab,bj->nchwij", B, tiles(x, 6, 4, padding, count), B, optimize=True)
    Y = np.einsum("ia,nkhwab,jb->nkhwij", A, tiles(dy, 4, 4, (0, 0), count), A, optimize=True)
    S = np.einsum("nchwij,nkhwij->kcij", V, Y, optimize=True)
    return np.einsum("ia,kcij,jb->kcab", G, S, G, optimize=True)


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
