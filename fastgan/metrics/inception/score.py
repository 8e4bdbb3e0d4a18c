# SPDX-License-Identifier: Apache-2.0
"""Inception score."""

import torch
from torch import Tensor

from fastgan.metrics.given_features import check_finite

__all__ = ["inception_score"]


def inception_score(probabilities: Tensor, *, splits: int = 10) -> float:
    """exp(mean over samples of KL(p(y|x) || p(y))), in float64, mean over splits of the samples.

    Salimans et al. 2016, arXiv:1606.03498. It looks at generated samples alone, and grows with
    their number. p(y) is the mean of a split, which are neighbouring samples.

    Args:
        probabilities: [N, K], rows that sum to 1.
        splits: their number; as many as there are samples, where these are fewer.

    Returns:
        The score, from 1 to K.

    Raises:
        ValueError: no sample, NaN or infinity.
    """
    if probabilities.ndim != 2 or not probabilities.numel():
        raise ValueError(
            f"inception_score: probabilities must be [N, K] with N, K of at least 1, got "
            f"{list(probabilities.shape)}"
        )
    check_finite(probabilities, "inception_score", "generated")
    found = []
    for p in probabilities.double().tensor_split(min(splits, len(probabilities))):
        mean = p.mean(0, keepdim=True)
        divergence = torch.special.xlogy(p, p) - torch.special.xlogy(p, mean)
        found.append(divergence.sum(1).mean().exp())
    return float(torch.stack(found).mean())
