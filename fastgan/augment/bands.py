# SPDX-License-Identifier: Apache-2.0
"""Image-space filtering (Karras et al. 2020, appendix B): random gains of frequency bands."""

import math

import numpy as np
import torch
from torch import Tensor

from fastgan.augment.random_factors import draw_executed, draw_lognormal
from fastgan.augment.reflect import reflect_pad
from fastgan.ops import conv2d

# Expected power of the bands of a natural image, whose spectrum falls as 1/f.
_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)


def band_filters() -> Tensor:
    """Zero-phase filters [4, 43] float64 of the bands [0, π/8], [π/8, π/4], [π/4, π/2], [π/2, π];
    they sum to a unit impulse.

    With H the low-pass filter of the wavelet sym2 and L(z) = H(z)·H(1/z)/2, for which
    L(z) + L(-z) = 1, they are L(z)·L(z²)·L(z⁴), L(z)·L(z²)·L(-z⁴), L(z)·L(-z²) and L(-z).
    """
    root = math.sqrt(3)
    h = np.array([1 + root, 3 + root, 3 - root, 1 - root]) / (4 * math.sqrt(2))
    low = np.convolve(h, h[::-1]) / 2  # [7]
    impulse = np.zeros(7)
    impulse[3] = 1.0
    passed = np.ones(1)
    bands = []
    for stretch in (1, 2, 4):
        bands.append(np.convolve(passed, _stretched(impulse - low, stretch)))
        passed = np.convolve(passed, _stretched(low, stretch))
    bands.append(passed)
    length = passed.size
    padded = [np.pad(band, (length - band.size) // 2) for band in reversed(bands)]
    return torch.from_numpy(np.stack(padded))


def amplify_bands(x: Tensor, p: Tensor, bands: Tensor) -> Tensor:
    """x [N, C, H, W] filtered per image by Σ g_i·bands_i along both axes, with reflect padding;
    bands is `band_filters()`.

    For every band in turn, with probability p, t_i ~ exp(N(0, ln² 2)) and t = 1 elsewhere; then
    g ← g·t / sqrt(Σ λ_j t_j²), which keeps the expected power for λ = (10, 1, 1, 1)/13. An image
    without executed bands is returned bit by bit.
    """
    n, channels = x.shape[:2]
    executed = torch.stack([draw_executed(n, p) for _ in _POWER], dim=1)  # [N, 4]
    taps = (draw_gains(executed)[:, :, None] * bands).sum(dim=1).to(x.dtype)  # [N, 43]
    weight = taps.repeat_interleave(channels, dim=0)[:, None, None, :]  # [N·C, 1, 1, 43]
    y = reflect_pad(x, taps.shape[1] // 2)
    y = y.reshape(1, n * channels, *y.shape[2:])
    y = conv2d(y, weight, groups=n * channels)
    y = conv2d(y, weight.transpose(2, 3), groups=n * channels)
    return torch.where(executed.any(dim=1).view(n, 1, 1, 1), y.view_as(x), x)


def draw_gains(executed: Tensor) -> Tensor:
    """Amplifications [N, 4] for executed [N, 4] bool."""
    t = draw_lognormal(executed, math.log(2))
    power = torch.ones_like(t[:, 0])
    for i, share in enumerate(_POWER):
        power = power * (1 + share * (t[:, i].square() - 1))  # Σ λ_j t_j², where only t_i ≠ 1
    return t / power.sqrt()[:, None]


def _stretched(f: np.ndarray, factor: int) -> np.ndarray:
    y = np.zeros((f.size - 1) * factor + 1)
    y[::factor] = f
    return y
