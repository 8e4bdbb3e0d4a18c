# SPDX-License-Identifier: Apache-2.0
"""What every metric does with features that no statistic can be computed of, and with few."""

import math

import numpy as np
import pytest
import torch

from fastgan.metrics import NAMES, Evaluator
from fastgan.metrics.frechet import frechet_distance
from fastgan.metrics.kid import kid
from fastgan.metrics.prdc import prdc

pytestmark = pytest.mark.usefixtures("metrics_extra")

METRICS = {"kid": kid, "frechet_distance": frechet_distance, "prdc": prdc}


def features(n, dim=4, seed=0):
    return torch.from_numpy(np.random.RandomState(seed).randn(n, dim))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e60])
@pytest.mark.parametrize("is_real", [True, False])
def test_values_that_are_not_finite_are_refused(name, value, is_real):
    real, fake = features(20), features(30, seed=1)
    (real if is_real else fake)[7, 2] = value
    whose = "those of 1 of 20 real" if is_real else "those of 1 of 30 generated"
    with pytest.raises(ValueError, match=rf"^{name}: features must be finite.*{whose} samples.*7"):
        METRICS[name](real, fake)


@pytest.mark.parametrize(("name", "least"), [("kid", 2), ("frechet_distance", 2), ("prdc", 6)])
def test_one_sample_is_refused_and_the_least_number_is_not(name, least):
    metric = METRICS[name]
    for n, m in ((1, 30), (30, 1), (least - 1, 30), (0, 30)):
        with pytest.raises(ValueError, match=rf"^{name}: at least {least} real and {least} fake"):
            metric(features(n), features(m))
    found = metric(features(least), features(least, seed=1))
    assert all(map(math.isfinite, vars(found).values() if name == "prdc" else [found]))
    with pytest.raises(ValueError, match="one F"):
        metric(features(30, 0), features(30, 0))


def test_constant_features_have_the_values_of_two_points():
    at = torch.linspace(0.1, 0.7, 5, dtype=torch.float64)
    here, there = at.expand(20, 5), (at + 0.25).expand(30, 5)
    assert vars(prdc(here, here)) == {"precision": 1, "recall": 1, "density": 4, "coverage": 1}
    assert vars(prdc(here, there)) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}
    assert frechet_distance(here, here) == pytest.approx(0, abs=1e-15)
    assert frechet_distance(here, there) == pytest.approx(5 * 0.25**2, abs=1e-14)

    def k(a, b):
        return float((a[0] @ b[0] / 5 + 1) ** 3)

    expected = k(here, here) + k(there, there) - 2 * k(here, there)
    assert kid(here, there) == pytest.approx(expected, abs=1e-12)
    assert kid(here, here) == pytest.approx(0, abs=1e-12)


def test_fewer_samples_than_dimensions_and_repeated_dimensions():
    """Singular covariances: the distance is that of the subspace in which there is variance."""
    real, fake = features(7, 3), features(9, 3, seed=1) * 2
    spread = torch.linalg.qr(features(40, 3, seed=2)).Q.T  # [3, 40], orthonormal rows
    expected = frechet_distance(real, fake)
    assert expected > 1
    assert frechet_distance(real @ spread, fake @ spread) == pytest.approx(expected, rel=1e-12)
    twice = frechet_distance(torch.cat([real] * 2, 1), torch.cat([fake] * 2, 1))
    assert twice == pytest.approx(2 * expected, rel=1e-12)
    assert kid(torch.cat([real] * 2, 1), torch.cat([fake] * 2, 1)) == pytest.approx(kid(real, fake))


class NaNFeatures(torch.nn.Module):
    """NaN in the features of dark pictures."""

    name, resize = "nan", "none"

    def forward(self, x):
        means = x.float().mean((2, 3))
        return torch.where(means < 1, torch.nan, means)


@pytest.mark.parametrize("name", NAMES)
def test_an_evaluator_names_the_metric_and_what_to_do(pictures, name):
    dark = pictures(30)
    dark.x[4] = 0
    bright = torch.from_numpy(pictures(30, 1).x)
    advice = {
        "real": rf"^{name}: .*1 of 30 real samples.*look for a damaged sample",
        "generated": rf"^{name}: .*30 of 30 generated samples.*use a checkpoint from before",
    }
    with pytest.raises(ValueError, match=advice["real"]):
        Evaluator(dark, extractor=NaNFeatures()).evaluate([name], lambda n: bright[:n], 20)
    with pytest.raises(ValueError, match=advice["generated"]):
        Evaluator(pictures(30), extractor=NaNFeatures()).evaluate(
            [name], lambda n: torch.zeros(n, 3, 4, 4), 30
        )
    least = 2 if name in ("kid_lite0", "fd_lite0") else 6
    with pytest.raises(ValueError, match=rf"^{name}: at least {least} real"):
        Evaluator(pictures(30), extractor=NaNFeatures()).evaluate([name], lambda n: bright[:n], 1)
