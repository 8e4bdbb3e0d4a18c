# SPDX-License-Identifier: Apache-2.0
"""Kernel distance (KID) between two sets of features."""

import warnings

import torch
from torch import Tensor

from fastgan.metrics.given_features import GivenFeatures, check_features


def kid(
    real: Tensor, fake: Tensor, *, subsets: int = 50, subset_size: int = 1000, seed: int = 0
) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel k(a, b) = (a·b / F + 1)³.

    Bińkowski et al. 2018, arXiv:1801.01401. 0 for equal distributions, whatever N is, and sometimes
    slightly below. real [N, F], fake [M, F]; computed in float64 by torchmetrics as the mean over
    `subsets` random subsets of `subset_size` of each (at most min(N, M)), drawn from `seed`; when
    a subset is everything, one is enough. Not multiplied by 1000.

    Raises:
        ValueError: other shapes, fewer than 2 rows, NaN or infinity.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    check_features(real, fake, "kid")
    size = min(subset_size, len(real), len(fake))
    with warnings.catch_warnings():
        # Says that it keeps all features; they are kept by the caller anyway.
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save all")
        metric = KernelInceptionDistance(
            feature=GivenFeatures(real.shape[1]),
            subsets=1 if size == len(real) == len(fake) else subsets,
            subset_size=size,
            sync_on_compute=False,  # else all ranks of a run would have to come here
        )
    metric.update(real.cpu().double(), real=True)
    metric.update(fake.cpu().double(), real=False)
    with torch.random.fork_rng(devices=[]):  # torchmetrics draws from the global generator
        torch.manual_seed(seed)
        mean, _ = metric.compute()
    return float(mean)
