# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.metrics.nearest import nearest


def by_the_book(real, fake, k):
    distances = np.sqrt(((fake[:, None] - real[None]) ** 2).sum(2))
    order = np.argsort(distances, axis=1)[:, :k]
    return np.take_along_axis(distances, order, 1), order


@pytest.mark.parametrize(("n", "m", "k"), [(20, 7, 3), (5, 600, 5), (300, 1, 1)])
def test_equals_all_distances_sorted(n, m, k):
    draws = np.random.RandomState(0)
    real, fake = draws.randn(n, 6) + 100, draws.randn(m, 6) + 100
    found = nearest(torch.from_numpy(real), torch.from_numpy(fake), k=k)
    distances, indices = by_the_book(real, fake, k)
    assert np.allclose(found.distances, distances, rtol=1e-12)
    assert np.array_equal(found.indices, indices)


def test_a_copy_is_found_and_no_sample_is_its_own_neighbour():
    real = torch.from_numpy(np.random.RandomState(0).randn(600, 4))
    found = nearest(real, real[[599, 3]].float())
    assert found.indices.flatten().tolist() == [599, 3]
    assert found.distances.max() < 1e-6
    among = nearest(real)
    assert (among.indices.flatten() != torch.arange(600)).all()
    distances, indices = by_the_book(real.numpy(), real.numpy(), 2)
    assert np.array_equal(among.indices[:, 0], indices[:, 1])
    assert np.allclose(among.distances[:, 0], distances[:, 1])


def test_bad_arguments():
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="k must be from 1 to 2, the number of other real"):
        nearest(x, k=3)
    with pytest.raises(ValueError, match="k must be from 1 to 3"):
        nearest(x, x, k=0)
    with pytest.raises(ValueError, match=r"^nearest: features must be finite"):
        nearest(x, torch.full((1, 2), torch.nan))
