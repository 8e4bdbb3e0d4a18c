# SPDX-License-Identifier: Apache-2.0
"""Fréchet distance between Gaussians fitted to two sets of features."""

import torch
from torch import Tensor

from fastgan.metrics.given_features import check_features


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """|μ_r - μ_f|² + tr(Σ_r + Σ_f - 2 (Σ_r Σ_f)^½), in float64.

    Heusel et al. 2017, arXiv:1706.08500. real [N, F], fake [M, F]. Biased upwards when N or M is
    not many times F: two halves of one data set are far from 0, so compare equal N only, or use
    `kid`. Called FID only with Inception features.

    With centred features A and B, Σ_r = AᵀA / (N - 1) and Σ_f = BᵀB / (M - 1), the eigenvalues of
    Σ_r Σ_f are the squares of the singular values of A Bᵀ / √((N - 1)(M - 1)), so the trace of the
    root is their sum. No root of a rounding error is taken, as it is with the eigenvalues of
    Σ_r Σ_f, and where N and M are below F the matrix is smaller.

    Raises:
        ValueError: other shapes, fewer than 2 rows, NaN or infinity.
    """
    check_features(real, fake, "frechet_distance")
    real, fake = real.double(), fake.double()
    shift = (real.mean(0) - fake.mean(0)).square().sum()
    a, b = _root(real), _root(fake)
    trace = a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum()
    return float(shift + trace)


def _root(x: Tensor) -> Tensor:
    """R [min(N, F), F] with RᵀR the covariance of the rows of x [N, F]."""
    centred = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return torch.linalg.qr(centred, mode="r").R if len(x) > x.shape[1] else centred
