# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan.nn import EqualConv2d, ModulatedConv2d, modulation
from fastgan.nn.modulation import modulated_conv2d_and_scale


@pytest.fixture
def _grouped(monkeypatch):
    """`fused` means one grouped convolution on a CPU, too."""
    monkeypatch.setattr(modulation, "_groups_the_batch", lambda x: True)


def build(fused=False, **options):
    torch.manual_seed(0)
    layer = ModulatedConv2d(3, 4, 3, 5, fused=fused, **options).double()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    return layer, x, torch.randn(2, 5, dtype=torch.float64)


@pytest.mark.usefixtures("_grouped")
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("demodulate", [False, True])
def test_each_sample_has_its_own_weights(fused, demodulate):
    layer, x, w = build(fused, demodulate=demodulate, activation="lrelu")
    layer.bias.data = torch.randn(4, dtype=torch.float64)
    s = w @ layer.affine.weight.t() / math.sqrt(5) + 1
    for n in range(2):
        weight = layer.weight * s[n][None, :, None, None]
        if demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        else:
            weight = weight / math.sqrt(27)
        u = F.conv2d(x[n : n + 1], weight, layer.bias, padding=1)
        expected = math.sqrt(2) * F.leaky_relu(u, 0.2)
        torch.testing.assert_close(layer(x, w)[n : n + 1], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.usefixtures("_grouped")
@pytest.mark.parametrize("demodulate", [False, True])
@pytest.mark.parametrize(("up", "size"), [(1, None), (2, None), (2, (9, 12)), (3, None)])
def test_fused_and_unfused_agree_in_value_and_gradient(up, size, demodulate):
    layer, x, w = build(up=up, demodulate=demodulate, clamp=2.0)
    results = []
    for fused in (False, True):
        layer.fused = fused
        y = layer(x, w, size)
        results.append([y, *torch.autograd.grad(y.square().sum(), list(layer.parameters()))])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_on_a_cpu_fused_is_the_way_that_is_faster_there():
    layer, x, w = build(up=2)
    x = x.cpu().contiguous(memory_format=torch.channels_last)
    layer, w = layer.cpu(), w.cpu()
    want = layer(x, w)
    layer.fused = True
    got = layer(x, w)
    assert torch.equal(got, want)
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_unit_styles_reduce_to_an_equalised_convolution():
    layer, x, _ = build(up=2, demodulate=False)
    conv = EqualConv2d(3, 4, 3, up=2).double()
    conv.load_state_dict({k: layer.state_dict()[k] for k in conv.state_dict()})
    w = torch.zeros(2, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x, w), conv(x), rtol=1e-8, atol=1e-8)


def test_demodulation_keeps_unit_variance_for_any_style():
    torch.manual_seed(0)
    layer = ModulatedConv2d(64, 64, 1, 8)
    y = layer(torch.randn(4, 64, 32, 32), 100 * torch.randn(4, 8))
    assert y.std().item() == pytest.approx(1, rel=0.05)


def test_factors_ignore_autocast():
    """d is left to the epilogue in float32: neither it nor the energies are rounded to bfloat16."""
    weight, styles = torch.randn(4, 3, 3, 3), torch.randn(2, 3)
    x = torch.randn(2, 3, 5, 5)
    with torch.autocast(x.device.type, torch.bfloat16):
        y, d = modulated_conv2d_and_scale(x, weight, styles)
    assert y.dtype == torch.bfloat16
    assert d.dtype == torch.float32
    torch.testing.assert_close(d, modulated_conv2d_and_scale(x, weight, styles)[1], rtol=0, atol=0)


def test_factors_noise_and_bias_join_in_one_pass():
    layer, x, w = build(activation="lrelu", clamp=0.9)
    layer.bias.data = torch.randn(4, dtype=torch.float64)
    noise = torch.randn(2, 1, 5, 6, dtype=torch.float64)
    strength = torch.tensor(0.7, dtype=torch.float64)
    y, d = layer.convolve(x, w)
    u = y * d[:, :, None, None] + strength * noise + layer.bias[:, None, None]
    expected = (math.sqrt(2) * F.leaky_relu(u, 0.2)).clamp(-0.9, 0.9)
    torch.testing.assert_close(layer.activate(y, d, noise, strength), expected)


def test_the_epilogue_rounds_bfloat16_once():
    """Scaling, noise and bias one after another round three times more."""
    torch.manual_seed(0)
    layer = ModulatedConv2d(8, 16, 3, 5, activation="lrelu")
    layer.bias.data = torch.randn(16)
    x, w = torch.randn(4, 8, 16, 16).bfloat16(), torch.randn(4, 5).bfloat16()
    noise, strength = torch.randn(4, 1, 16, 16).bfloat16(), torch.tensor(0.7)
    with torch.no_grad():
        y, d = layer.convolve(x, w)
        exact = layer.activate(y.double(), d.double(), noise.double(), strength)
        once = layer.activate(y, d, noise, strength)
        u = y * d.bfloat16()[:, :, None, None] + noise * strength.bfloat16()
        in_steps = layer.activate(u)
    ours, theirs = ((t.double() - exact).abs().mean() for t in (once, in_steps))
    assert ours < 0.6 * theirs


@pytest.mark.usefixtures("_grouped")
@pytest.mark.parametrize("fused", [False, True])
def test_float16_does_not_overflow(fused):
    """x · styles and their sums over channels would be beyond 65504."""
    torch.manual_seed(0)
    layer = ModulatedConv2d(64, 4, 3, 5, fused=fused).requires_grad_(False)
    layer.weight.abs_()
    layer.affine.bias.fill_(300.0)
    x, w = 100 + 100 * torch.rand(2, 64, 6, 6), torch.randn(2, 5)
    want = layer(x, w)
    got = layer(x.half(), w)
    assert got.dtype == torch.float16
    assert got.isfinite().all()
    assert (got.float() - want).abs().max() < 0.01 * want.abs().max()


class WidestTensor(TorchDispatchMode):
    """Records the largest number of dimensions that any operation returns."""

    def __init__(self):
        super().__init__()
        self.dims = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.dims = max(self.dims, out.ndim)
        return out


@pytest.mark.usefixtures("_grouped")
@pytest.mark.parametrize(("fused", "dims"), [(False, 4), (True, 5)])
def test_only_the_fused_path_builds_weights_per_sample(fused, dims):
    layer, x, w = build(fused)
    with WidestTensor() as widest:
        layer(x, w)
    assert widest.dims == dims


def test_state_dict_names():
    names = ["weight", "bias", "resample_filter", "affine.weight", "affine.bias"]
    assert list(ModulatedConv2d(3, 4, 3, 5).state_dict()) == names
    rgb = ModulatedConv2d(3, 4, 1, 5, demodulate=False, resample_filter=None)
    assert "resample_filter" not in rgb.state_dict()
    torch.testing.assert_close(rgb.affine.bias, torch.ones(3))


def test_wrong_inputs_are_refused():
    layer, x, w = build()
    with pytest.raises(ValueError, match=r"ModulatedConv2d: x must have 3 channels"):
        layer(x[:, :2], w)
    with pytest.raises(ValueError, match=r"ModulatedConv2d: w must have shape \[N, 5\]"):
        layer(x, w[:, :4])
    with pytest.raises(ValueError, match=r"w must have shape \[2, 5\] for x of shape"):
        layer(x, w[:1])
    with pytest.raises(ValueError, match="size must be None when up=1"):
        layer(x, w, (5, 6))
    with pytest.raises(ValueError, match="resample_filter must be given"):
        ModulatedConv2d(3, 4, 3, 5, up=2, resample_filter=None)
