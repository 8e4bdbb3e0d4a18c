# SPDX-License-Identifier: Apache-2.0
"""What the rounding of Winograd's F(4×4, 3×3) is relative to: the magnitudes that it adds up."""

import numpy as np
from _tolerances import numpy64


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
