# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from fastgan.data.balanced_choice import balanced_choice


def images_of(channels, count=200):
    """Images of every brightness and contrast."""
    random = np.random.RandomState(1)
    level = random.uniform(30, 220, (count, channels, 1, 1))
    spread = random.uniform(1, 30, (count, 1, 1, 1))
    noise = random.randn(count, channels, 5, 7)
    return np.clip(level + spread * noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_its_means_are_nearer_to_those_of_all_than_blind_ones(channels):
    images = images_of(channels)
    level = images.mean((1, 2, 3), dtype=np.float64)
    contrast = images[:, 0].std((1, 2), dtype=np.float64)
    errors = {"balanced": [], "blind": []}
    for seed in range(10):
        chosen = balanced_choice(images, 20, seed)
        assert chosen == sorted(set(chosen))
        assert len(chosen) == 20
        assert chosen == balanced_choice(images, 20, seed)
        blind = np.random.RandomState(seed).permutation(200)[:20]
        for name, places in (("balanced", chosen), ("blind", blind)):
            errors[name].append([v[places].mean() - v.mean() for v in (level, contrast)])
    ratio = np.std(errors["balanced"], 0) / np.std(errors["blind"], 0)
    assert (ratio < 0.3).all(), ratio


@pytest.mark.parametrize(("count", "num"), [(1, 1), (5, 5), (2, 1)])
def test_small_sets(count, num):
    assert len(balanced_choice(images_of(3, count), num, 0)) == num


def test_images_of_one_pixel():
    assert len(balanced_choice(images_of(1)[:, :, :1, :1], 3, 0)) == 3
