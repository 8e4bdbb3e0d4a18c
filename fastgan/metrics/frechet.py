"""Fréchet distance between Gaussians fitted to two sets of features."""

from torch import Tensor

from fastgan.metrics.given_features import GivenFeatures, check_features


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """|μ_r - μ_f|² + tr(Σ_r + Σ_f - 2 (Σ_r Σ_f)^½), in float64 by torchmetrics.

    Heusel et al. 2017, arXiv:1706.08500. real [N, F], fake [M, F]. Biased upwards when N or M is
    not many times F: two halves of one data set are far from 0, so compare equal N only, or use
    `kid`. Called FID only with Inception features, which these are not.

    Raises ValueError for other shapes, or fewer than 2 rows.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    check_features(real, fake, "frechet_distance")
    metric = FrechetInceptionDistance(
        feature=GivenFeatures(real.shape[1]),
        sync_on_compute=False,  # else all ranks of a run would have to come here
    )
    metric.update(real.cpu().double(), real=True)
    metric.update(fake.cpu().double(), real=False)
    return float(metric.compute())
