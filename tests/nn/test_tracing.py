# SPDX-License-Identifier: Apache-2.0
"""`torch.jit.trace` of layers as they are made, with parameters that need gradients."""

import pytest
import torch

from fastgan import nn

LAYERS = {
    "FusedLeakyReLU": lambda: nn.FusedLeakyReLU(4),
    "Blur": lambda: nn.Blur([1, 3, 3, 1]),
    "Upsample": lambda: nn.Upsample([1, 3, 3, 1]),
    "EqualConv2d and MinibatchStdDev": lambda: torch.nn.Sequential(
        nn.EqualConv2d(4, 4, 3), nn.MinibatchStddev(2)
    ),
}


@pytest.mark.filterwarnings("ignore:.torch.jit.trace", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_the_trace_has_the_values_and_gradients_of_the_layer(name):
    torch.manual_seed(0)
    layer, x = LAYERS[name](), torch.randn(2, 4, 6, 5, requires_grad=True)
    traced = torch.jit.trace(layer, x.detach())  # compares two traces
    assert "fastgan::" in str(traced.inlined_graph)
    inputs = [x, *layer.parameters()]
    for run in (layer, traced):
        y = run(x)
        assert torch.equal(y, layer(x))
        grads = torch.autograd.grad(y.square().sum(), inputs)
        expected = torch.autograd.grad(layer(x).square().sum(), inputs)
        for grad, want in zip(grads, expected, strict=True):
            torch.testing.assert_close(grad, want)
