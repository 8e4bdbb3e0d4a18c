# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fastgan.nn import NoiseInjection


def build(size=None):
    layer = NoiseInjection(size)
    layer.noise_strength.data.fill_(0.5)
    return layer


def test_starts_as_the_identity():
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(NoiseInjection()(x), x, rtol=0, atol=0)


def test_random_noise_is_shared_by_channels_and_differs_between_samples():
    torch.manual_seed(0)
    x = torch.zeros(64, 3, 8, 9)
    y = build()(x)
    torch.testing.assert_close(y[:, 0], y[:, 2], rtol=0, atol=0)
    assert not torch.equal(y[0], y[1])
    assert y.std().item() == pytest.approx(0.5, rel=0.05)
    torch.manual_seed(0)
    torch.testing.assert_close(build()(x), y, rtol=0, atol=0)


def test_const_noise_repeats_and_none_adds_nothing():
    layer = build((4, 5))
    x = torch.randn(2, 3, 4, 5)
    y = layer(x, noise_mode="const")
    torch.testing.assert_close(y, x + 0.5 * layer.noise_const)
    torch.testing.assert_close(layer(x, noise_mode="none"), x, rtol=0, atol=0)


def test_strength_learns():
    layer = build((4, 5))
    layer(torch.zeros(1, 2, 4, 5), noise_mode="const").sum().backward()
    torch.testing.assert_close(layer.noise_strength.grad, 2 * layer.noise_const.sum())


def test_unfit_modes_are_refused():
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="must be one of random, const, none, got 'off'"):
        build()(x, noise_mode="off")
    with pytest.raises(ValueError, match=r"needs a fixed noise of size \(4, 4\), got none"):
        build()(x, noise_mode="const")
    with pytest.raises(ValueError, match=r"got noise of size \(4, 5\)"):
        build((4, 5))(x, noise_mode="const")
