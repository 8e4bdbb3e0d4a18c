# SPDX-License-Identifier: Apache-2.0
"""How a batch is cut, and what is refused."""

from functools import partial

import pytest
import torch
from torch import nn

from fastgan.nn import MinibatchStddev
from fastgan.training.config.recipes import load_recipe
from fastgan.training.step.batch import (
    check_group_size,
    check_groups,
    check_split,
    num_micro_batches,
    rows_of_rank,
)


@pytest.mark.parametrize(
    ("n", "ranks", "at_once", "group"),
    [(24, 2, None, 4), (24, 3, 4, 4), (32, 4, 2, 2), (12, 1, 3, 3)],
)
def test_groups_stay_whole(n, ranks, at_once, group):
    x = torch.randn(n, 4, 3, 2, dtype=torch.float64)
    layer = MinibatchStddev(group_size=group)
    whole = layer(x)
    for rank in range(ranks):
        own, expected = rows_of_rank(x, rank, ranks), rows_of_rank(whole, rank, ranks)
        parts = num_micro_batches(len(own), at_once)
        for a in range(parts):
            torch.testing.assert_close(layer(own[a::parts]), expected[a::parts])


def test_a_contiguous_split_would_not_do():
    """What the strides are for."""
    x, layer = torch.randn(8, 4, 3, 2), MinibatchStddev(group_size=4)
    assert not torch.allclose(layer(x[:4]), layer(x)[:4])


@pytest.mark.parametrize(
    ("ranks", "changes", "words"),
    [
        (3, {}, "batch: expected a multiple of the 3 processes, got 8; the nearest that fits is 9"),
        (16, {}, "got 8; the nearest that fits is 16"),
        (4, {"batch_gpu": 4}, "batch_gpu: expected a divisor of the 2 samples of each process"),
        (8, {"pl_weight": 1.0, "g_reg_interval": 4}, "expected a multiple of 16, got 8.* is 16"),
        (16, {"pl_weight": 1.0, "g_reg_interval": 4}, "the nearest that fits is 32"),
        (3, {"batch_gpu": 4}, "the nearest that fits is 12"),
    ],
)
def test_refused_splits(tiny, ranks, changes, words):
    with pytest.raises(ValueError, match=words):
        check_split(tiny.config(batch=8, **changes), ranks)


def test_taken_splits(tiny):
    for ranks, batch_gpu in ((1, None), (1, 8), (2, 2), (8, 1)):
        check_split(tiny.config(batch=8, batch_gpu=batch_gpu), ranks)


@pytest.mark.parametrize(
    ("ranks", "batch_gpu", "words"),
    [
        (
            4,
            None,
            r"batch: D.1 compares groups of 4 .*group_size=4, batch 8\), but a process computes 2 ",
        ),
        (1, 2, "batch_gpu: D.1 compares groups of 4"),
    ],
)
def test_a_cut_group_is_refused(tiny, ranks, batch_gpu, words):
    D = nn.Sequential(nn.Identity(), MinibatchStddev(group_size=4))
    with pytest.raises(ValueError, match=words):
        check_groups(tiny.config(batch=8, batch_gpu=batch_gpu), D, ranks)
    check_groups(tiny.config(batch=8, batch_gpu=4), D, 2)


def test_groups_are_checked_before_there_is_a_discriminator():
    published = partial(load_recipe("stylegan2"), resolution=(64, 64))
    check_group_size(published(), 1)
    config = published(model={"mbstd_group": 8})
    with pytest.raises(
        ValueError, match=r"batch_gpu: D compares groups of 8 .* computes 4 samples"
    ):
        check_group_size(config, 1)
    check_group_size(published(model={"mbstd_group": 8, "mbstd_channels": 0}), 1)


@pytest.mark.parametrize(
    ("cfg", "gpus", "nearest"),
    [("stylegan2", 64, 256), ("stylegan2", 3, 36), ("stylegan3-r", 3, 36), ("cifar", 3, 96)],
)
def test_the_nearest_batch_of_a_published_configuration_is_taken(cfg, gpus, nearest):
    published = partial(load_recipe(cfg), resolution=(32, 32), gpus=gpus)
    with pytest.raises(ValueError, match=rf"keeps groups of \d+ samples .* is {nearest}$"):
        check_split(published(), gpus)
    config = published(batch=nearest)
    check_split(config, gpus)
    check_group_size(config, gpus)
    assert config.model.mbstd_group == published().model.mbstd_group


def test_a_group_of_the_whole_batch_is_not_cut(tiny):
    D = nn.Sequential(MinibatchStddev(group_size=None))
    check_groups(tiny.config(batch=8), D, 1)
    with pytest.raises(ValueError, match=r"groups of 8 samples \(group_size=None, batch 8\)"):
        check_groups(tiny.config(batch=8), D, 2)
