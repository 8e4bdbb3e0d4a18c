# SPDX-License-Identifier: Apache-2.0
"""conv2d_resample, modulated_conv2d and filtered_lrelu: ops made of ops, against plain torch."""

import _plain_definitions as plain
import pytest
import torch
from _both_orders import assert_same
from _op_info import OpInfo, Sample

from fastgan.ops import conv2d_resample, filtered_lrelu, modulated_conv2d, setup_filter

DOUBLE = torch.float64
SKEW = torch.tensor([0.1, -0.3, 0.5, 0.2, 0.7])  # no symmetry hides a flipped filter


GEOMETRIES = {
    "same": {"padding": 1},
    "none": {},
    "unequal padding": {"padding": [2, 0, 1, 3]},
    "crop": {"padding": [-1, 0, 2, -1]},
    "up": {"up": 2, "padding": 1},
    "up 3": {"up": 3, "padding": [1, 0, 2, 1]},
    "up, cropped": {"up": 2, "padding": [-2, -1, -1, -2]},
    "down": {"down": 2, "padding": 1},
    "down 3, unequal": {"down": 3, "padding": [2, 1, 0, 1]},
    "both": {"up": 2, "down": 3, "padding": 2},
}


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("flips", [(True, False), (False, True)], ids=str)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_conv2d_resample(geometry, kernel, flips, groups, device):
    torch.manual_seed(0)
    f = SKEW.to(DOUBLE) if geometry == "up 3" else setup_filter([1, 3, 3, 1]).to(DOUBLE)
    options = GEOMETRIES[geometry] | {"flip_weight": flips[0], "flip_filter": flips[1]}
    inputs = [torch.randn(2, 4, 9, 8, dtype=DOUBLE), torch.randn(6, 4 // groups, *kernel).double()]
    assert_same(
        lambda x, w: conv2d_resample(x, w, f.to(device), groups=groups, **options),
        lambda x, w: plain.conv2d_resample(x, w, f, groups=groups, **options),
        inputs,
        device,
    )


@pytest.mark.parametrize("geometry", ["up", "down", "same"])
def test_conv2d_resample_without_a_filter(geometry, device):
    torch.manual_seed(0)
    inputs = [torch.randn(1, 2, 6, 5, dtype=DOUBLE), torch.randn(3, 2, 3, 3, dtype=DOUBLE)]
    assert_same(
        lambda x, w: conv2d_resample(x, w, **GEOMETRIES[geometry]),
        lambda x, w: plain.conv2d_resample(x, w, **GEOMETRIES[geometry]),
        inputs,
        device,
    )


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("geometry", ["same", "up", "down"])
@pytest.mark.parametrize("noise", [None, (2, 1), (1, 1), (), (1, 4)], ids=str)
def test_modulated_conv2d_of_stylegan2(noise, geometry, demodulate, device):
    torch.manual_seed(0)
    f = setup_filter([1, 3, 3, 1]).to(DOUBLE)
    options = GEOMETRIES[geometry] | {"demodulate": demodulate, "flip_weight": geometry != "up"}
    inputs = [
        torch.randn(2, 3, 6, 6, dtype=DOUBLE),
        torch.randn(4, 3, 3, 3, dtype=DOUBLE),
        torch.randn(2, 3, dtype=DOUBLE) + 1,
    ]
    side = {"same": 6, "up": 12, "down": 3}[geometry]
    if noise is not None:
        inputs.append(torch.randn(*noise, side, side, dtype=DOUBLE))
    assert_same(
        lambda x, w, s, *n: modulated_conv2d(
            x, w, s, *n, resample_filter=f.to(device), fused_modconv=False, **options
        ),
        lambda x, w, s, *n: plain.stylegan2_modulated_conv2d(
            x, w, s, *n, resample_filter=f, **options
        ),
        inputs,
        device,
    )


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("gain", [None, 0.7, (), (3,), (2, 3)], ids=str)
def test_modulated_conv2d_of_stylegan3(gain, demodulate, device):
    torch.manual_seed(0)
    if isinstance(gain, tuple):
        gain = torch.rand(gain, dtype=DOUBLE) + 0.5
    inputs = [
        torch.randn(2, 3, 6, 5, dtype=DOUBLE),
        3 * torch.randn(4, 3, 3, 3, dtype=DOUBLE),
        torch.randn(2, 3, dtype=DOUBLE) + 1,
    ]
    mine = gain.to(device) if isinstance(gain, torch.Tensor) else gain
    assert_same(
        lambda x, w, s: modulated_conv2d(
            x, w, s, demodulate=demodulate, padding=2, normalize=demodulate, input_gain=mine
        ),
        lambda x, w, s: plain.stylegan3_modulated_conv2d(x, w, s, demodulate, 2, gain),
        inputs,
        device,
    )


def test_float16_does_not_overflow(device):
    x = torch.full((1, 8, 4, 4), 300.0, dtype=torch.float16, device=device)
    w = torch.full((2, 8, 3, 3), 40.0, device=device)
    s = torch.full((1, 8), 500.0, device=device)
    y = modulated_conv2d(x, w, s, padding=1)
    want = plain.stylegan2_modulated_conv2d(
        x.double().cpu(), w.double().cpu(), s.double().cpu(), padding=1
    )
    torch.testing.assert_close(y.double().cpu(), want, rtol=5e-3, atol=1e-2)


LRELUS = {
    "critically sampled": {"up": 1, "down": 1},
    "up 2 down 2": {"up": 2, "down": 2, "padding": [7, 6, 7, 6]},
    "up 4 down 2": {"up": 4, "down": 2, "padding": 9, "clamp": 0.4},
    "up 2 down 4, crop": {"up": 2, "down": 4, "padding": [-1, 3, 4, -2], "slope": 0.7},
    "torgb": {"gain": 1.0, "slope": 1.0, "clamp": 256.0},
}


@pytest.mark.parametrize("is_radial", [False, True])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("case", LRELUS)
def test_filtered_lrelu(case, flip, is_radial, device):
    torch.manual_seed(0)
    options = LRELUS[case] | {"flip_filter": flip}
    fu = torch.randn(6, dtype=DOUBLE) if options.get("up", 1) > 1 else None
    fd = torch.randn(4, 5, dtype=DOUBLE) if is_radial else SKEW.to(DOUBLE)
    inputs = [torch.randn(2, 3, 9, 8, dtype=DOUBLE), torch.randn(3, dtype=DOUBLE)]
    on = (None if fu is None else fu.to(device), fd.to(device))
    assert_same(
        lambda x, b: filtered_lrelu(x, *on, b, **options),
        lambda x, b: plain.filtered_lrelu(x, fu, fd, b, **options),
        inputs,
        device,
    )


def test_filtered_lrelu_without_filters_inserts_zeros(device):
    """fu=None with up=2 is one tap of 1 (times up²): legal, and what a toRGB layer may call."""
    x = torch.randn(1, 2, 3, 3, dtype=DOUBLE)
    y = filtered_lrelu(x.to(device), up=2, padding=[1, 0, 0, 1])
    torch.testing.assert_close(y.cpu(), plain.filtered_lrelu(x, up=2, padding=[1, 0, 0, 1]))


def of(call, x=(2, 3, 4, 4), **shapes):
    return Sample(call, {"x": x, **shapes})


X = torch.zeros(2, 3, 4, 4)
SKEWED = setup_filter([1, 3, 3, 1])
OP_INFO = OpInfo(
    samples={
        "modulated_conv2d": of(
            lambda x, w, s: modulated_conv2d(x, w, s, padding=1), w=(4, 3, 3, 3), s=(2, 3)
        ),
        "conv2d_resample": of(
            lambda x, w: conv2d_resample(x, w, SKEWED.to(x), up=2, padding=1), w=(4, 3, 3, 3)
        ),
    },
    errors={
        name: (ValueError, words, call)
        for name, words, call in (
            ("channels", r"w must be \[groups·O, 3 / groups",
             lambda: conv2d_resample(X, X[:, :1], up=1)),
            ("up", "up must be an int ≥ 1, got 0", lambda: conv2d_resample(X, X, up=0)),
            ("styles", r"styles must have shape \(2, 3\)",
             lambda: modulated_conv2d(X, X, X[:1, :, 0, 0])),
            ("weight", r"weight must be \[O, I",
             lambda: modulated_conv2d(X, X[:, :2], X[:, :, 0, 0])),
            ("pairs", r"up must be an int ≥ 1, got \[2, 2\]",
             lambda: filtered_lrelu(X, up=[2, 2])),
            ("large filter", "smaller than the 9×9", lambda: filtered_lrelu(X, fd=torch.ones(9))),
            ("dimensions", r"x must be \[N, C, H, W\]", lambda: filtered_lrelu(X[0])),
        )
    },
    has_bits_of_64=False,
)  # fmt: skip
