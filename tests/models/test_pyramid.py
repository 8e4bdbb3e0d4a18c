# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest

from fastgan.models._pyramid import halving_sizes, size_name


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((32, 32), [(4, 4), (8, 8), (16, 16), (32, 32)]),
        ((7, 7), [(7, 7)]),
        ((9, 50), [(5, 25), (9, 50)]),
        ((100, 75), [(7, 5), (13, 10), (25, 19), (50, 38), (100, 75)]),
        ((1, 30), [(1, 30)]),
    ],
)
def test_sizes(size, expected):
    assert halving_sizes(*size) == expected


def test_every_size_is_the_ceil_half_of_the_next():
    for height in range(1, 130):
        sizes = halving_sizes(height, height)
        assert sizes[-1] == (height, height)
        assert sizes[0][0] == height or 4 <= sizes[0][0] <= 7
        for small, large in itertools.pairwise(sizes):
            assert small[0] == -(-large[0] // 2)


def test_names():
    assert size_name((4, 4)) == "b4"
    assert size_name((5, 7)) == "b5x7"
