# SPDX-License-Identifier: Apache-2.0
"""Kaiser's window of the length of a filter, from the attenuation A in dB of its stop band.

    β = 0.1102·(A - 8.7)                          A > 50
        0.5842·(A - 21)^0.4 + 0.07886·(A - 21)    21 < A ≤ 50, else 0 (a rectangle)

How A follows from the taps and the transition band is the filter's own: published filters differ.
Source: Kaiser, "Nonrecursive Digital Filter Design Using the I0-sinh Window Function" (1974).
"""

import torch


def kaiser_beta(attenuation: float) -> float:
    if attenuation > 50:
        return 0.1102 * (attenuation - 8.7)
    if attenuation > 21:
        return 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    return 0.0


def kaiser_window(taps: int, attenuation: float) -> torch.Tensor:
    """float64 [taps], symmetric, at most 1."""
    beta = kaiser_beta(attenuation)
    return torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64)
