# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.metrics.kid import kid

pytestmark = pytest.mark.usefixtures("metrics_extra")


def unbiased(x, y):
    def k(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, kxx, kyy = len(x), k(x, x), k(y, y)
    within = (kxx.sum() - kxx.trace() + kyy.sum() - kyy.trace()) / (n * (n - 1))
    return within - 2 * k(x, y).mean()


def features(n, shift=0.0, seed=0):
    return np.random.RandomState(seed).randn(n, 6) + shift


def test_one_subset_of_everything_is_the_formula():
    x, y = features(30), features(30, 0.3, 1)
    got = kid(torch.tensor(x), torch.tensor(y))
    assert got == pytest.approx(unbiased(x, y), abs=1e-12)


def test_zero_for_equal_distributions_and_grows_with_distance():
    x = torch.tensor(features(400))
    values = [kid(x, torch.tensor(features(300, s, 1)), subset_size=200) for s in (0, 0.5, 1)]
    assert abs(values[0]) < 0.05
    assert values[0] < values[1] < values[2]


def test_subsets_come_from_the_seed_and_leave_the_global_generator_alone():
    x, y = torch.tensor(features(60)), torch.tensor(features(50, 0.2, 1))
    torch.manual_seed(1)
    first = kid(x, y, subset_size=20, subsets=3)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert kid(x, y, subset_size=20, subsets=3) == first
    assert kid(x, y, subset_size=20, subsets=3, seed=1) != first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_arguments():
    with pytest.raises(ValueError, match="at least 2 real"):
        kid(torch.zeros(1, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="one F"):
        kid(torch.zeros(5, 3), torch.zeros(5, 4))
