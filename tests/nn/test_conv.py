# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.nn.functional as F

from fastgan.nn import EqualConv2d

FILTERS = [(1,), (1, 2, 1), (1, 3, 3, 1), tuple(range(1, 13))]
SIZES = [(1, 1), (5, 7), (8, 6)]
MARGIN = 24  # zeros around the map, so that no border of the plane is felt


def on_a_plane(x, w, f, up, down):
    """Zero-insert, convolve, filter and decimate on a plane with wide margins; then cut out."""
    (n, c, h, width), k, taps = x.shape, w.shape[-1], len(f)
    f = torch.tensor(f, dtype=x.dtype)
    f = f / f.sum()
    fir = f.outer(f).flip(0, 1)[None, None]
    z = torch.zeros(n, c, h * up, width * up, dtype=x.dtype)
    z[:, :, ::up, ::up] = x
    z = F.pad(z, [MARGIN] * 4)
    centre = (taps + up - 1) // 2 if up > 1 else (taps - down + 1) // 2
    z = up**2 * F.conv2d(z, fir.expand(c, 1, taps, taps), groups=c)
    start = MARGIN - centre  # where output pixel 0 landed
    w = w.flip(2, 3) if up > 1 else w  # transposed convolution is true convolution
    z = F.conv2d(F.pad(z, [k // 2] * 4), w)
    stop_y, stop_x = start + h * up, start + width * up
    return z[:, :, start:stop_y:down, start:stop_x:down]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("f", FILTERS)
@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(("up", "down"), [(2, 1), (3, 1), (1, 2), (1, 3)])
def test_resampling_is_exact_up_to_the_border(size, f, k, up, down):
    torch.manual_seed(0)
    layer = EqualConv2d(3, 2, k, up=up, down=down, bias=False, resample_filter=f).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    y = layer(x)
    expected = on_a_plane(x, layer.weight / math.sqrt(3 * k * k), f, up, down)
    assert y.shape == (2, 2, *[-(-n * up // down) for n in size])
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("k", [1, 3])
def test_size_crops_the_last_row_and_column(k):
    torch.manual_seed(0)
    layer = EqualConv2d(2, 3, k, up=2)
    x = torch.randn(1, 2, 4, 5)
    torch.testing.assert_close(layer(x, size=(7, 10)), layer(x)[:, :, :7])
    torch.testing.assert_close(layer(x, size=(8, 9)), layer(x)[..., :9])


def test_plain_convolution_bias_activation_gain_clamp():
    torch.manual_seed(0)
    layer = EqualConv2d(3, 4, 3, activation="lrelu", gain=2.0, clamp=1.5)
    layer.bias.data = torch.randn(4)
    x = torch.randn(2, 3, 7, 5)
    u = F.conv2d(x, layer.weight / math.sqrt(27), layer.bias, padding=1)
    expected = (2 * F.leaky_relu(u, 0.2)).clamp(-1.5, 1.5)
    torch.testing.assert_close(layer(x), expected)
    assert (layer(x).abs() == 1.5).any()


def test_initial_variance_is_kept():
    torch.manual_seed(0)
    x = torch.randn(8, 32, 16, 16)
    assert EqualConv2d(32, 64, 1)(x).std().item() == pytest.approx(1, rel=0.05)


def test_state_dict_names():
    assert list(EqualConv2d(2, 3, 3).state_dict()) == ["weight", "bias", "resample_filter"]
    assert list(EqualConv2d(2, 3, 3, bias=False, resample_filter=None).state_dict()) == ["weight"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 2}, "kernel_size must be odd"),
        ({"kernel_size": 3, "up": 2, "down": 2}, "up and down must not both exceed 1"),
        ({"kernel_size": 3, "up": 0}, "up must be an integer >= 1"),
        ({"kernel_size": 3, "down": 2, "resample_filter": None}, "resample_filter must be given"),
    ],
)
def test_wrong_geometry_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EqualConv2d(2, 2, **options)


def test_wrong_x_or_size_is_refused():
    with pytest.raises(ValueError, match=r"EqualConv2d: x must have 2 channels"):
        EqualConv2d(2, 3, 3)(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"size must be None when up=1"):
        EqualConv2d(2, 3, 3)(torch.zeros(1, 2, 4, 4), size=(4, 4))
    with pytest.raises(ValueError, match=r"size must lie within 7..8"):
        EqualConv2d(2, 3, 3, up=2)(torch.zeros(1, 2, 4, 4), size=(8, 9))


AFTER = {
    "as StyleGAN2": ({}, {"resample_filter": (1, 3, 3, 1)}),
    "clamps": ({"clamp": 0.5, "gain": 0.7}, {"clamp": 0.25}),
    "another filter": ({}, {"resample_filter": (1, 2, 1), "bias": False, "gain": 2.0}),
    "no bias": ({"bias": False}, {"down": 3}),
    "linear": ({"activation": "linear"}, {}),
    "one by one": ({}, {"kernel_size": 1}),
}


@pytest.mark.parametrize("is_joined", [False, True], ids=["two calls", "joined"])
@pytest.mark.parametrize("case", AFTER)
def test_after_is_one_layer_after_the_other(case, is_joined, monkeypatch, seed):
    """Bit for bit on a CPU, where the joined pass is the same two ops."""
    monkeypatch.setattr("fastgan.nn.conv._joins", lambda x: is_joined)
    given = {"activation": "lrelu"}, {"down": 2, "kernel_size": 3, "activation": "lrelu"}
    one, two = (own | more for own, more in zip(given, AFTER[case], strict=True))
    first, second = EqualConv2d(3, 4, 3, **one), EqualConv2d(4, 5, **two)
    for layer in (first, second):
        if layer.bias is not None:
            torch.nn.init.normal_(layer.bias)
    for size in ((8, 8), (7, 9)):
        x = torch.randn(2, 3, *size).contiguous(memory_format=torch.channels_last)
        assert torch.equal(second.after(first, x), second(first(x)))


def test_a_hook_sees_the_map_between(monkeypatch):
    monkeypatch.setattr("fastgan.nn.conv._joins", lambda x: True)
    first = EqualConv2d(3, 4, 3, activation="lrelu")
    second = EqualConv2d(4, 5, 3, down=2)
    seen = []
    for layer in (first, second):
        layer.register_forward_hook(lambda module, args, y: seen.append(y))
    y = second.after(first, torch.randn(1, 3, 8, 8))
    assert seen[1] is y
    assert seen[0].shape == (1, 4, 8, 8)


def test_after_checks_its_maps(monkeypatch):
    monkeypatch.setattr("fastgan.nn.conv._joins", lambda x: True)
    first, second = EqualConv2d(3, 4, 3, activation="lrelu"), EqualConv2d(4, 5, 3, down=2)
    with pytest.raises(ValueError, match="EqualConv2d: x must have 3 channels"):
        second.after(first, torch.randn(1, 2, 8, 8))
