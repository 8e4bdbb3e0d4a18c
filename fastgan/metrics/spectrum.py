# SPDX-License-Identifier: Apache-2.0
"""Radially averaged power spectra of images: where generated ones lack or repeat detail."""

import torch
from torch import Tensor

from fastgan.metrics.features import to_uint8

__all__ = ["decibels", "frequencies", "power_spectra"]


def power_spectra(x: Tensor) -> Tensor:
    """The power of each image by spatial frequency, averaged over directions and channels.

    With pixels in [0, 1], |DFT|² / (H W) is averaged over the frequencies of a ring. Ring r holds
    those with a length of r - 1/2 to r + 1/2 in units of 1 / min(H, W) cycles per pixel, up to
    half a cycle per pixel. Ring 0 is the mean brightness. No window is applied: images whose
    opposite borders differ have power along the axes. As in Durall et al. 2020, arXiv:2003.01826.

    Args:
        x: [N, C, H, W], uint8 or float in [-1, 1].

    Returns:
        float64 [N, min(H, W) // 2 + 1].

    Raises:
        ValueError: another shape or dtype, or NaN or infinity.
    """
    x = to_uint8(x).double() / 255
    h, w = x.shape[2:]
    power = torch.fft.fft2(x, norm="ortho").abs().square().mean(1)  # [N, H, W]
    fy, fx = torch.fft.fftfreq(h, dtype=torch.float64), torch.fft.fftfreq(w, dtype=torch.float64)
    rings = (torch.hypot(fy[:, None], fx[None]) * min(h, w) + 0.5).floor().long().to(x.device)
    count = min(h, w) // 2 + 1
    is_inside = rings < count
    sums = torch.zeros(len(x), count, dtype=torch.float64, device=x.device)
    sums.index_add_(1, rings[is_inside], power[:, is_inside])
    return sums / rings[is_inside].bincount(minlength=count)


def frequencies(h: int, w: int) -> Tensor:
    """The frequency of each ring, in cycles per pixel.

    Args:
        h: height of the images.
        w: width.

    Returns:
        float64 [min(h, w) // 2 + 1], from 0 to about 1/2.
    """
    return torch.arange(min(h, w) // 2 + 1, dtype=torch.float64) / min(h, w)


def decibels(spectra: Tensor) -> Tensor:
    """10 log10 of the mean over images.

    Args:
        spectra: [N, R], of `power_spectra`.

    Returns:
        float64 [R]; at least -200.
    """
    return 10 * spectra.mean(0).clamp_min(1e-20).log10()
