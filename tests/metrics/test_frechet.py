# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.metrics.frechet import frechet_distance


def test_equals_the_formula_where_the_root_is_known():
    # y = a·x + b per coordinate: with commuting covariances the trace term is Σ (σ_r - σ_f)².
    rng = np.random.RandomState(0)
    x, _ = np.linalg.qr(rng.randn(200, 5) - 0)
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T)).T)
    scale, shift = np.array([1, 2, 0.5, 3, 0]), np.array([0, 1, -2, 0, 0.5])
    expected = ((1 - scale) ** 2).sum() + (shift**2).sum()
    got = frechet_distance(torch.tensor(x), torch.tensor(x * scale + shift))
    assert got == pytest.approx(expected, abs=1e-6)


def test_same_features_give_zero_and_fewer_rows_than_features_work():
    x = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-4)


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(5, 3))


@pytest.mark.parametrize(("n", "m", "dim"), [(50, 60, 7), (60, 50, 20), (12, 9, 20), (30, 9, 20)])
def test_equals_the_eigenvalues_of_the_product_of_covariances(n, m, dim):
    rng = np.random.RandomState(n)
    x, y = rng.randn(n, dim) @ rng.randn(dim, dim), rng.randn(m, dim) + 0.3
    cov_x, cov_y = np.cov(x.T), np.cov(y.T)
    roots = np.sqrt(np.linalg.eigvals(cov_x @ cov_y).astype(complex)).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cov_x + cov_y) - 2 * roots.sum()
    got = frechet_distance(torch.tensor(x), torch.tensor(y))
    # The eigenvalues are exact to 1e-16 of the largest, so their roots to 1e-8 where they are 0.
    assert got == pytest.approx(expected, rel=1e-12 if min(n, m) > dim else 1e-6)


def test_equals_scipy_and_torchmetrics():
    linalg = pytest.importorskip("scipy.linalg")
    fid = pytest.importorskip("torchmetrics.image.fid")
    from fastgan.metrics.given_features import GivenFeatures

    rng = np.random.RandomState(0)
    x, y = rng.randn(80, 10) @ rng.randn(10, 10), rng.randn(90, 10) + 0.3
    cov_x, cov_y = np.cov(x.T), np.cov(y.T)
    root = linalg.sqrtm(cov_x @ cov_y).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cov_x + cov_y - 2 * root)
    got = frechet_distance(torch.tensor(x), torch.tensor(y))
    assert got == pytest.approx(expected, rel=1e-11)
    metric = fid.FrechetInceptionDistance(feature=GivenFeatures(10))
    metric.update(torch.tensor(x), real=True)
    metric.update(torch.tensor(y), real=False)
    assert got == pytest.approx(float(metric.compute()), rel=1e-5)
