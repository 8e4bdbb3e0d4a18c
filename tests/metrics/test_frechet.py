import numpy as np
import pytest
import torch

from fastgan.metrics.frechet import frechet_distance

pytestmark = pytest.mark.usefixtures("metrics_extra")


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
