# SPDX-License-Identifier: Apache-2.0
"""What every layer promises: dtypes, autocast, memory format, and two orders of derivative."""

import pytest
import torch
from torch.func import functional_call

from fastgan import nn as fnn
from fastgan.nn import modulation

LAYERS = {
    "linear": (lambda: fnn.EqualLinear(3, 4, activation="lrelu"), [(2, 3)]),
    "linear_lr": (lambda: fnn.EqualLinear(3, 4, bias_init=1.0, lr_multiplier=0.01), [(3, 3)]),
    "conv": (lambda: fnn.EqualConv2d(2, 3, 3, activation="lrelu"), [(2, 2, 4, 3)]),
    "conv_smooth": (lambda: fnn.EqualConv2d(2, 2, 1, activation="swish"), [(2, 2, 3, 2)]),
    "conv_clamp": (lambda: fnn.EqualConv2d(2, 3, 3, clamp=0.7), [(2, 2, 4, 3)]),
    "conv_up": (lambda: fnn.EqualConv2d(2, 3, 3, up=2, activation="lrelu"), [(1, 2, 3, 2)]),
    "conv_down": (lambda: fnn.EqualConv2d(2, 3, 3, down=2, activation="lrelu"), [(2, 2, 5, 4)]),
    "conv_down_1x1": (lambda: fnn.EqualConv2d(2, 3, 1, down=2, bias=False), [(2, 2, 5, 4)]),
    "activation": (lambda: fnn.FusedLeakyReLU(3), [(2, 3, 2, 2)]),
    "snake": (lambda: fnn.Snake(2, 1.5), [(2, 2, 6)]),
    "snake_beta_log": (lambda: fnn.SnakeBeta(2, alpha_logscale=True), [(2, 2, 5)]),
    "anti_aliased": (lambda: fnn.AntiAliasedActivation(fnn.SnakeBeta(2)), [(2, 2, 5)]),
    "anti_aliased_3": (
        lambda: fnn.AntiAliasedActivation(fnn.Snake(2), 3, 2, None, 7),
        [(2, 2, 4)],
    ),
    "upsample": (lambda: fnn.Upsample(), [(2, 2, 3, 2)]),
    "downsample": (lambda: fnn.Downsample(), [(2, 2, 5, 4)]),
    "blur": (lambda: fnn.Blur((1, 2, 1)), [(2, 2, 3, 4)]),
    "modulated": (
        lambda: fnn.ModulatedConv2d(2, 3, 3, 4, activation="lrelu"),
        [(2, 2, 4, 3), (2, 4)],
    ),
    "modulated_up": (lambda: fnn.ModulatedConv2d(2, 2, 3, 4, up=2), [(2, 2, 2, 3), (2, 4)]),
    "modulated_fused": (
        lambda: fnn.ModulatedConv2d(2, 2, 3, 4, up=2, fused=True),
        [(2, 2, 2, 3), (2, 4)],
    ),
    "modulated_rgb": (
        lambda: fnn.ModulatedConv2d(2, 3, 1, 4, demodulate=False),
        [(2, 2, 3, 3), (2, 4)],
    ),
    "stddev": (lambda: fnn.MinibatchStddev(2), [(4, 3, 2, 2)]),
    "stddev_runs": (lambda: fnn.MinibatchStddev(4, num_channels=2), [(3, 4, 2, 1)]),
    "pixel_norm": (lambda: fnn.PixelNorm(), [(3, 4)]),
    "mapping": (lambda: fnn.MappingNetwork(3, 2, 4, None, num_layers=2), [(3, 3), (3, 2)]),
    "mapping_c": (
        lambda: fnn.MappingNetwork(3, 0, 4, 2, num_layers=1, lr_multiplier=0.5).eval(),
        [(3, 3)],
    ),
}
MAPS = sorted(name for name, (_, shapes) in LAYERS.items() if len(shapes[0]) == 4)


@pytest.fixture(autouse=True)
def _grouped(monkeypatch):
    """`fused` of a modulated convolution means one grouped convolution on a CPU, too."""
    monkeypatch.setattr(modulation, "_groups_the_batch", lambda x: True)


def build(name, dtype=torch.float32):
    torch.manual_seed(len(name))
    make, shapes = LAYERS[name]
    layer = make()
    for p in layer.parameters():
        p.data += 0.1 * torch.randn_like(p)  # biases and strengths that start at 0 must count
    return layer.to(dtype), [torch.randn(shape, dtype=dtype) for shape in shapes]


@pytest.mark.parametrize("name", LAYERS)
def test_first_and_second_derivatives(name):
    layer, inputs = build(name, torch.float64)
    names = [n for n, _ in layer.named_parameters()]
    values = [p.detach().requires_grad_() for p in layer.parameters()]
    inputs = [x.requires_grad_() for x in inputs]

    def run(*tensors):
        xs, params = tensors[: len(inputs)], tensors[len(inputs) :]
        return functional_call(layer, dict(zip(names, params, strict=True)), xs)

    layer.train(False)
    assert torch.autograd.gradcheck(run, (*inputs, *values))
    assert torch.autograd.gradgradcheck(run, (*inputs, *values), fast_mode=True)


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_follow_the_dtype_of_x(name):
    layer, inputs = build(name)
    layer.eval()
    y = layer(*inputs)
    low = layer(*(x.bfloat16() for x in inputs))
    assert low.dtype == torch.bfloat16
    assert y.dtype == torch.float32
    torch.testing.assert_close(low.float(), y, rtol=0.05, atol=0.05 * y.abs().max().item())
    high = layer(*(x.double() for x in inputs))
    assert high.dtype == torch.float64
    torch.testing.assert_close(high.float(), y, rtol=1e-4, atol=1e-5 * y.abs().max().item())


@pytest.mark.parametrize("name", LAYERS)
def test_trains_under_autocast(name):
    layer, inputs = build(name)
    y = layer(*inputs)
    with torch.autocast(inputs[0].device.type, torch.bfloat16):
        low = layer(*(x.requires_grad_() for x in inputs))
        loss = low.float().square().sum()
    loss.backward()
    torch.testing.assert_close(low.float(), y, rtol=0.05, atol=0.05 * y.abs().max().item())
    for key, p in [*layer.named_parameters(), *enumerate(inputs)]:
        assert p.grad is not None, key
        assert p.grad.dtype == torch.float32
        assert p.grad.isfinite().all(), key


@pytest.mark.parametrize("name", MAPS)
def test_channels_last_stays_and_changes_no_value(name):
    layer, (x, *rest) = build(name)
    x = x.repeat(1, 1, 2, 2)  # 1-pixel maps have no distinct memory format
    y = layer(x, *rest)
    y_last = layer(x.contiguous(memory_format=torch.channels_last), *rest)
    torch.testing.assert_close(y_last, y, rtol=1e-5, atol=1e-5)
    if name != "modulated_fused":  # grouping needs the batch beside the channels
        assert y_last.is_contiguous(memory_format=torch.channels_last)
    strided = torch.empty(*x.shape[:3], 2 * x.shape[3])[:, :, :, ::2].copy_(x)
    torch.testing.assert_close(layer(strided, *rest), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_empty_batch(name):
    layer, inputs = build(name)
    layer.eval()
    y = layer(*inputs)
    empty = layer(*(x[:0] for x in inputs))
    assert empty.shape == (0, *y.shape[1:])


@pytest.mark.parametrize("name", LAYERS)
def test_state_dict_round_trip(name):
    layer, inputs = build(name)
    other = LAYERS[name][0]()
    other.load_state_dict(layer.state_dict(), strict=True)
    torch.testing.assert_close(other.eval()(*inputs), layer.eval()(*inputs), rtol=0, atol=0)
