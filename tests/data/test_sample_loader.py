# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.data import BatchLoader, SampleLoader
from fastgan.data.sample_loader import sample_uniform


class Counted:
    """Sample i is the number i, with the random numbers that it is shown with as its condition."""

    image_shape, label_dim = (1, 1, 1), 0

    def __init__(self, count=10):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        return np.full((1, 1, 1), i, np.uint8), np.zeros(0, np.float32)

    def batch(self, indices, uniform):
        return {"i": torch.from_numpy(indices)}, (torch.from_numpy(uniform),)


def test_the_order_is_that_of_images():
    loader, images = SampleLoader(Counted(), 4, seed=3), BatchLoader(Counted(), 4, seed=3)
    for position in (0, 4, 8, 12, 40):  # 8 crosses an epoch's end
        indices, _ = images.indices_at(position)
        assert loader.batch_at(position)[0]["i"].tolist() == indices.tolist()


def test_equal_positions_are_equal_batches_and_epochs_differ():
    loader = SampleLoader(Counted(), 5, seed=0)
    first = loader.batch_at(0)
    loader.batch_at(10)
    again, other = SampleLoader(Counted(), 5, seed=0).batch_at(0), loader.batch_at(10)
    assert torch.equal(first[0]["i"], again[0]["i"])
    assert torch.equal(first[1][0], again[1][0])
    assert not torch.equal(first[1][0], other[1][0])


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_rows_of_a_batch(ranks):
    whole = SampleLoader(Counted(), 6, seed=1)
    for rank in range(ranks):
        loader = SampleLoader(Counted(), 6, seed=1, part=(rank, ranks))
        for got, expected in ((loader.batch_at(6), whole.batch_at(6)),):
            assert torch.equal(got[0]["i"], expected[0]["i"][rank::ranks])
            assert torch.equal(got[1][0], expected[1][0][rank::ranks])
        assert torch.equal(loader.whole.batch_at(6)[0]["i"], whole.batch_at(6)[0]["i"])


def test_random_numbers_are_uniform_and_belong_to_seed_and_place():
    u = sample_uniform(5, np.arange(4000))
    assert u.shape == (4000, 4)
    assert 0 <= u.min() < u.max() < 1
    np.testing.assert_allclose(u.mean(0), 0.5, atol=0.02)
    np.testing.assert_allclose(u.std(0), 12**-0.5, atol=0.02)
    assert np.abs(np.corrcoef(np.hstack([u[:-1], u[1:]]).T) - np.eye(8)).max() < 0.06
    np.testing.assert_array_equal(sample_uniform(5, np.array([7])), u[7:8])
    assert not np.array_equal(sample_uniform(6, np.arange(4000)), u)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0, "seed": 0}, "batch >= 1"),
        ({"batch": 1, "seed": -1}, "seed >= 0"),
        ({"batch": 4, "seed": 0, "part": (0, 3)}, "n a divisor of batch 4"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SampleLoader(Counted(), **arguments)
    with pytest.raises(ValueError, match="holds no sample"):
        SampleLoader(Counted(0), 1, seed=0)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        SampleLoader(Counted(), 1, seed=0).batch_at(-1)
