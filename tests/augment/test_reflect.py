# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fastgan.augment.reflect import reflect, reflect_pad


@pytest.mark.parametrize("size", [1, 2, 5])
def test_reflect_pad_mirrors_for_ever(size):
    x = torch.arange(float(size)).expand(1, 1, 1, size)
    pattern = [*range(size), *range(size - 2, 0, -1)]
    expected = [pattern[i % len(pattern)] for i in range(-7, size + 7)]
    assert reflect_pad(x, 7)[0, 0, 3].tolist() == expected


def test_reflect_folds_real_positions():
    position = torch.tensor([-0.25, 0.0, 3.5, 4.5, 8.25])
    assert reflect(position, 5).tolist() == [0.25, 0.0, 3.5, 3.5, 0.25]
