# SPDX-License-Identifier: Apache-2.0
"""The images that a process computes at once, and the minibatch-stddev group that fits them."""

import pytest

from fastgan.ops.minibatch_stddev import largest_group
from fastgan.training.config.published.split import split


@pytest.mark.parametrize(
    ("batch", "gpus", "most", "group", "wanted"),
    [
        (32, 8, 4, 4, (4, 4)),
        (32, 1, 4, 4, (4, 4)),
        (64, 8, 8, 4, (8, 4)),
        (64, 4, 32, 32, (16, 16)),
        (96, 1, 32, 32, (32, 32)),
        (30, 3, 8, 4, (2, 2)),
        (63, 3, 8, 4, (3, 3)),
        (12, 1, 8, 4, (4, 4)),
        (25, 1, 8, 4, (5, 1)),
        (256, 16, 32, 1, (16, 1)),
        (64, 3, 8, 4, (None, 4)),
        (2, 3, 8, 4, (None, 2)),
    ],
)
def test_split(batch, gpus, most, group, wanted):
    assert split(batch, gpus, most=most, group=group) == wanted


def test_images_at_once_and_group_always_fit_each_other():
    for share in range(1, 49):
        for gpus in (1, 2, 3):
            for most, wanted in ((8, 4), (4, 4), (32, 32), (1, 4)):
                at_once, group = split(share * gpus, gpus, most=most, group=wanted)
                assert at_once <= most
                assert group <= wanted
                assert share % at_once == 0
                assert largest_group(at_once, group) == group
                assert largest_group(share * gpus, group) == group
