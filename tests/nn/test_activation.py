# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fastgan.nn import FusedLeakyReLU


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (1, 3, 4, 7)])
def test_value_is_the_formula(shape):
    torch.manual_seed(0)
    layer = FusedLeakyReLU(3, negative_slope=0.1, scale=1.5)
    layer.bias.data = torch.tensor([0.5, -0.5, 2.0])
    x = torch.randn(shape)
    u = x + layer.bias.view(1, 3, *[1] * (len(shape) - 2))
    torch.testing.assert_close(layer(x), 1.5 * torch.where(u > 0, u, 0.1 * u))


def test_defaults_keep_the_second_moment_near_one():
    torch.manual_seed(0)
    y = FusedLeakyReLU(8)(torch.randn(1000, 8))
    assert y.square().mean().item() == pytest.approx((1 + 0.2**2), rel=0.05)


def test_without_bias_there_is_no_parameter():
    layer = FusedLeakyReLU(3, bias=False)
    assert list(layer.state_dict()) == []
    torch.testing.assert_close(layer(-torch.ones(1, 3)), torch.full((1, 3), -0.2 * 2**0.5))


def test_wrong_channels_are_refused():
    with pytest.raises(ValueError, match=r"x must have shape \[N, 3, ...\], got \(2, 4\)"):
        FusedLeakyReLU(3)(torch.zeros(2, 4))
