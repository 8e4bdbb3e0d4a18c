# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from fastgan.augment.corruption import add_noise, cut_out

ONE = torch.tensor(1.0)


def test_noise_level_is_half_normal_per_image():
    torch.manual_seed(0)
    noise = add_noise(torch.zeros(4000, 1, 16, 16), ONE)
    sigma = noise.flatten(1).square().mean(dim=1).sqrt()
    assert sigma.mean().item() == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.05)
    assert sigma.square().mean().sqrt().item() == pytest.approx(0.1, rel=0.05)
    assert noise.mean().item() == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 20)])
def test_cutout_zeroes_one_rectangle_of_half_the_sides_at_most(height, width):
    torch.manual_seed(1)
    is_cut = cut_out(torch.ones(300, 2, height, width), ONE) == 0
    assert torch.equal(is_cut[:, 0], is_cut[:, 1])
    rows, columns = is_cut[:, 0].any(dim=2), is_cut[:, 0].any(dim=1)
    assert torch.equal(is_cut[:, 0], rows[:, :, None] & columns[:, None, :])
    assert rows.sum(dim=1).max().item() == height // 2
    assert columns.sum(dim=1).max().item() == width // 2
    assert rows.sum(dim=1).min().item() >= height // 4
    assert (rows.int().diff(dim=1).abs().sum(dim=1) <= 2).all()


def test_cutout_reaches_every_pixel():
    torch.manual_seed(2)
    is_cut = cut_out(torch.ones(500, 1, 7, 5), ONE) == 0
    assert is_cut.any(dim=0).all()
    assert not is_cut.all(dim=0).any()
