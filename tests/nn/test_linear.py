# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from fastgan.nn import EqualLinear
from fastgan.ops import use_small_calls


def test_value_is_the_formula():
    torch.manual_seed(0)
    layer = EqualLinear(5, 3, bias_init=2.0, lr_multiplier=0.01, activation="lrelu").double()
    x = torch.randn(4, 5, dtype=torch.float64)
    w = layer.weight * 0.01 / math.sqrt(5)
    u = x @ w.t() + 2.0
    expected = math.sqrt(2) * torch.where(u > 0, u, 0.2 * u)
    torch.testing.assert_close(layer(x), expected, rtol=1e-6, atol=1e-6)


def test_initial_scale_does_not_depend_on_the_multiplier():
    torch.manual_seed(0)
    x = torch.randn(512, 256)
    for lr_multiplier in (1.0, 0.01):
        layer = EqualLinear(256, 256, bias=False, lr_multiplier=lr_multiplier)
        assert layer.weight.std().item() == pytest.approx(1 / lr_multiplier, rel=0.02)
        assert layer(x).std().item() == pytest.approx(1, rel=0.02)


def test_the_multiplier_scales_an_adam_step():
    x = torch.ones(1, 4)
    moved = []
    for lr_multiplier in (1.0, 0.01):
        torch.manual_seed(0)
        layer = EqualLinear(4, 1, lr_multiplier=lr_multiplier)
        before = layer(x).item()
        opt = torch.optim.Adam(layer.parameters(), lr=0.1)
        layer(x).sum().backward()
        opt.step()
        moved.append(before - layer(x).item())
    assert moved[1] == pytest.approx(0.01 * moved[0], rel=1e-3)


def test_leading_dimensions_are_kept():
    layer = EqualLinear(5, 3, bias_init=1.0)
    x = torch.randn(2, 7, 5)
    y = layer(x)
    assert y.shape == (2, 7, 3)
    torch.testing.assert_close(y[1], layer(x[1]))


@pytest.mark.parametrize("x", [torch.zeros(2, 4), torch.zeros(5), torch.zeros(2, 5).long()])
def test_wrong_x_is_refused(x):
    with pytest.raises(ValueError, match="EqualLinear: x must have"):
        EqualLinear(5, 3)(x)


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="in_features must be an integer >= 1, got 0"):
        EqualLinear(0, 3)
    with pytest.raises(ValueError, match="lr_multiplier must be > 0"):
        EqualLinear(2, 3, lr_multiplier=0.0)


@pytest.mark.parametrize("activation", ["linear", "relu", "lrelu", "swish"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_small_call_has_the_same_derivatives(activation, bias):
    """Two orders, by gains that addmm takes and by the kernels."""
    torch.manual_seed(0)
    layer = EqualLinear(
        5, 3, bias=bias, bias_init=0.5, lr_multiplier=0.1, activation=activation
    ).double()
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for setting in ("auto", "0"):
        with use_small_calls(setting):
            y = layer(x)
            first = torch.autograd.grad(
                y.square().sum(), [x, *layer.parameters()], create_graph=True
            )
            second = torch.autograd.grad(
                sum(g.square().sum() for g in first), [x, *layer.parameters()]
            )
        found.append((y, *first, *second))
    for small, kernel in zip(*found, strict=True):
        torch.testing.assert_close(small, kernel)
