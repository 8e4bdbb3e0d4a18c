# SPDX-License-Identifier: Apache-2.0
"""Precision, recall, density and coverage of generated images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastgan.metrics.given_features import check_features

_BLOCK = 1024  # rows of a distance matrix held at once


@dataclass(frozen=True, kw_only=True)
class PRDC:
    """The four numbers of `prdc`."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, fake: Tensor, *, k: int = 5) -> PRDC:
    """Compare real [N, F] and fake [M, F] by balls around each point, with k nearest neighbours.

    Let ρ(x) be the distance of x to its k-th nearest other point of its own set. Then

        precision = 1/M   Σ_j 1[∃i: |f_j - r_i| ≤ ρ(r_i)]       fakes inside some real ball
        recall    = 1/N   Σ_i 1[∃j: |r_i - f_j| ≤ ρ(f_j)]       reals inside some fake ball
        density   = 1/kM  Σ_j Σ_i 1[|f_j - r_i| ≤ ρ(r_i)]       real balls around a fake, may be > 1
        coverage  = 1/N   Σ_i 1[∃j: |f_j - r_i| ≤ ρ(r_i)]       real balls that hold a fake

    Precision and recall: Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 1-2. Density and coverage:
    Naeem et al. 2020, arXiv:2002.09797, eq. 3-4. Squared distances in float64, 1024 rows at a time.

    Raises:
        ValueError: other shapes, k < 1, at most k rows, NaN or infinity.
    """
    if k < 1:
        raise ValueError(f"prdc: k must be at least 1, got {k}")
    check_features(real, fake, "prdc", least=k + 1)
    # Distances do not change, and those of features far from 0 keep their digits.
    origin = real[:1].double()
    real, fake = real.double() - origin, fake.double() - origin
    real_radius, fake_radius = _squared_radii(real, k), _squared_radii(fake, k)

    is_fake_in_real, is_real_in_fake, is_real_covered = [], [], []
    num_balls = 0
    for start in range(0, len(real), _BLOCK):
        rows = slice(start, start + _BLOCK)
        d2 = _squared_distances(real[rows], fake)  # [block, M]
        is_in_ball = d2 <= real_radius[rows, None]
        num_balls += int(is_in_ball.sum())
        is_fake_in_real.append(is_in_ball.any(0))
        is_real_covered.append(is_in_ball.any(1))
        is_real_in_fake.append((d2 <= fake_radius).any(1))
    return PRDC(
        precision=float(torch.stack(is_fake_in_real).any(0).double().mean()),
        recall=float(torch.cat(is_real_in_fake).double().mean()),
        density=num_balls / (k * len(fake)),
        coverage=float(torch.cat(is_real_covered).double().mean()),
    )


def _squared_radii(x: Tensor, k: int) -> Tensor:
    """[N]: squared distance to the k-th nearest other row."""
    radii = []
    for start in range(0, len(x), _BLOCK):
        d2 = _squared_distances(x[start : start + _BLOCK], x)  # [block, N]
        rows = torch.arange(len(d2), device=x.device)
        d2[rows, rows + start] = torch.inf  # a point is no neighbour of itself
        radii.append(d2.kthvalue(k, dim=1).values)
    return torch.cat(radii)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """[A, B]: |a|² + |b|² - 2ab, which float64 resolves to 1e-15 of |a|²."""
    d2 = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * (a @ b.T)
    return d2.clamp_(min=0)
