# SPDX-License-Identifier: Apache-2.0
"""Kaiser-windowed low-pass filters, separable and radial.

With t = (i - (taps - 1) / 2) / fs the places of the taps in seconds, c the cutoff and Δ the width
of the transition band, both in Hz:

    separable   f[i] ∝ sinc(2·c·t) · kaiser(i)                         sum 1
    radial      f[i, j] ∝ J1(2π·c·r) / r · kaiser(i) · kaiser(j)       r² = t_i² + t_j², sum 1
    attenuation A = 2.285·(taps - 1)·π·Δ / (fs / 2) + 7.95 dB

where kaiser is the window of that attenuation, `fastgan.kaiser`.
Source: Kaiser (1974); Karras et al., "Alias-Free Generative Adversarial Networks" (2021), section
3 and appendix C for the radial one.
"""

import math

import torch

from fastgan.kaiser import kaiser_window


def lowpass_filter(
    taps: int, cutoff: float, width: float, fs: float, *, is_radial: bool = False
) -> torch.Tensor | None:
    """float32 [taps], or [taps, taps] if radial; None for one tap, which filters nothing.

    taps ≥ 1; cutoff, width (of the transition band) and fs (the sampling rate): in one unit, > 0.
    """
    if taps == 1:
        return None
    attenuation = 2.285 * (taps - 1) * math.pi * (width / (fs / 2)) + 7.95
    window = kaiser_window(taps, attenuation)
    t = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / fs
    if not is_radial:
        f = torch.sinc(2 * cutoff * t) * window
        return (f / f.sum()).float()
    r = torch.hypot(t[:, None], t[None, :])
    # J1(x) / x is 1/2 at 0.
    disc = torch.where(
        r > 0, torch.special.bessel_j1(2 * math.pi * cutoff * r) / r, math.pi * cutoff
    )
    f = disc * window[:, None] * window[None, :]
    return (f / f.sum()).float()
