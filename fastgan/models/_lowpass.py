"""Kaiser-windowed low-pass filters, separable and radial.

With t = (i - (taps - 1) / 2) / fs the places of the taps in seconds, c the cutoff and Δ the width
of the transition band, both in Hz:

    separable   f[i] ∝ sinc(2·c·t) · kaiser(i)                         sum 1
    radial      f[i, j] ∝ J1(2π·c·r) / r · kaiser(i) · kaiser(j)       r² = t_i² + t_j², sum 1
    attenuation A = 2.285·(taps - 1)·π·Δ / (fs / 2) + 7.95 dB
    β = 0.1102·(A - 8.7)                          A > 50
        0.5842·(A - 21)^0.4 + 0.07886·(A - 21)    21 < A ≤ 50, else 0

Source: Kaiser (1974); Karras et al., "Alias-Free Generative Adversarial Networks" (2021), section
3 and appendix C for the radial one.
"""

import math

import torch


def kaiser_beta(taps: int, width: float, fs: float) -> float:
    a = 2.285 * (taps - 1) * math.pi * (width / (fs / 2)) + 7.95
    if a > 50:
        return 0.1102 * (a - 8.7)
    return 0.5842 * (a - 21) ** 0.4 + 0.07886 * (a - 21) if a > 21 else 0.0


def lowpass_filter(
    taps: int, cutoff: float, width: float, fs: float, *, is_radial: bool = False
) -> torch.Tensor | None:
    """float32 [taps], or [taps, taps] if radial; None for one tap, which filters nothing.

    taps ≥ 1; cutoff, width (of the transition band) and fs (the sampling rate): in one unit, > 0.
    """
    if taps == 1:
        return None
    beta = kaiser_beta(taps, width, fs)
    window = torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64)
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
