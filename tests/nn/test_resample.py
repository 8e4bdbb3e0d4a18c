# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

from fastgan.nn import Blur, Downsample, Upsample

FILTERS = [(1,), (1, 1), (1, 2, 1), (1, 3, 3, 1), tuple(range(1, 13))]


def plane_filter(v, f, x0):
    """True convolution on an infinite plane: y[o] = Σ_j f[taps − 1 − j] · v[o + j − x0]."""
    taps = len(f)
    f = torch.tensor(f, dtype=v.dtype)
    f = (f / f.sum()).flip(0)
    kernel = f.outer(f).expand(v.shape[1], 1, taps, taps)
    v = F.pad(v, (x0, taps, x0, taps))
    return F.conv2d(v, kernel, groups=v.shape[1])


@pytest.mark.parametrize("f", FILTERS)
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_upsample_is_zero_insertion_and_filter(f, factor):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    z = torch.zeros(2, 3, 5 * factor, 4 * factor, dtype=torch.float64)
    z[:, :, ::factor, ::factor] = x
    plane = factor**2 * plane_filter(z, f, (len(f) + factor - 1) // 2)
    expected = plane[:, :, : 5 * factor, : 4 * factor]
    layer = Upsample(f, factor).double()
    torch.testing.assert_close(layer(x), expected, rtol=1e-6, atol=1e-6)
    size = (5 * factor - factor + 1, 4 * factor)
    torch.testing.assert_close(layer(x, size), layer(x)[:, :, : size[0], : size[1]])


@pytest.mark.parametrize("f", FILTERS)
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("size", [(6, 12), (7, 5), (1, 3)])
def test_downsample_keeps_ceil_sizes(f, factor, size):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    plane = plane_filter(F.pad(x, (0, 9, 0, 9)), f, (len(f) - factor + 1) // 2)
    out = [-(-n // factor) for n in size]
    expected = plane[:, :, ::factor, ::factor][:, :, : out[0], : out[1]]
    y = Downsample(f, factor).double()(x)
    assert list(y.shape[2:]) == out
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)


def test_constants_keep_their_value_away_from_the_border():
    x = torch.ones(1, 1, 9, 9)
    assert Upsample()(x)[0, 0, 4:-4, 4:-4].allclose(torch.ones(10, 10))
    assert Downsample()(x)[0, 0, 1:-1, 1:-1].allclose(torch.ones(3, 3))
    assert Blur()(x)[0, 0, 2:-2, 2:-2].allclose(torch.ones(5, 5))


def test_blur_padding_grows_and_crops():
    x = torch.randn(1, 2, 6, 5)
    assert Blur()(x).shape == x.shape
    assert Blur((1, 2, 1), padding=(1, 2))(x).shape == (1, 2, 6 + 4, 5 + 2)
    torch.testing.assert_close(Blur((1, 2, 1), padding=-1)(x), Blur((1, 2, 1))(x)[:, :, 1:-1, 1:-1])


def test_unreachable_size_is_refused():
    with pytest.raises(ValueError, match=r"size must lie within 9..10 for an input side of 5"):
        Upsample()(torch.zeros(1, 1, 5, 5), size=(8, 10))


def test_wrong_x_is_refused():
    for layer in (Upsample(), Downsample(), Blur()):
        name = type(layer).__name__
        with pytest.raises(ValueError, match=rf"{name}: x must have 4 dimensions"):
            layer(torch.zeros(2, 3))
        with pytest.raises(ValueError, match=rf"{name}: x must have a floating dtype"):
            layer(torch.zeros(1, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match="factor must be an integer >= 1"):
        Upsample(factor=0)
