# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from fastgan.augment import BlurFade


def plain(x, sigma):
    """Every output pixel as a sum over the image, which is 0 outside."""
    radius = math.floor(3 * sigma)
    taps = [2.0 ** -((i / sigma) ** 2) for i in range(-radius, radius + 1)]
    f = torch.tensor(taps, dtype=torch.float64)
    f = f / f.sum()
    y = torch.zeros_like(x)
    height, width = x.shape[2:]
    for i in range(height):
        for j in range(width):
            for k in range(max(i - radius, 0), min(i + radius + 1, height)):
                for m in range(max(j - radius, 0), min(j + radius + 1, width)):
                    y[:, :, i, j] += f[k - i + radius] * f[m - j + radius] * x[:, :, k, m]
    return y


@pytest.mark.parametrize("sigma", [0.34, 1.0, 1.9])
@pytest.mark.parametrize("sigma_max", [2.0, 10.0])
def test_it_is_the_sum_that_the_formula_says(sigma, sigma_max):
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    blur = BlurFade(sigma_max)
    blur.set_sigma(sigma)
    torch.testing.assert_close(blur(x), plain(x, sigma), rtol=0, atol=1e-13)
    assert blur.taps().numel() == 2 * math.floor(3 * sigma_max) + 1


@pytest.mark.parametrize("sigma", [0.0, 0.33])
def test_one_tap_leaves_images_alone(sigma):
    x = torch.randn(2, 3, 5, 7)
    blur = BlurFade(10.0)
    blur.set_sigma(sigma)
    assert not blur.is_active
    assert torch.equal(blur(x), x)
    # A graph that was captured before would still run the filter: the same bits.
    blur.is_active = True
    assert torch.equal(blur(x), x)


def test_derivatives_of_both_orders():
    blur = BlurFade(2.0)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(blur, (x,))
    assert torch.autograd.gradgradcheck(blur, (x,))


def test_the_filter_is_followed_when_it_changes_in_place():
    """What a captured step reads: tensors of fixed shape that the host writes into."""
    blur, x = BlurFade(3.0), torch.randn(1, 1, 9, 9)
    addresses = [b.data_ptr() for b in blur.buffers()]
    wide = blur(x)
    blur.set_sigma(1.0)
    assert [b.data_ptr() for b in blur.buffers()] == addresses
    assert blur(x).square().sum() > wide.square().sum()
    assert not blur.state_dict()


def test_wrong_widths_are_refused_in_words():
    with pytest.raises(ValueError, match=r"BlurFade: sigma_max must be .* got 0"):
        BlurFade(0)
    with pytest.raises(ValueError, match=r"set_sigma: sigma must lie in \[0, 3.0\], got 3.1"):
        BlurFade(3.0).set_sigma(3.1)
