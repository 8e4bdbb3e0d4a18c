# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from _op_info import OpInfo, Sample, dense_format, first_gradient
from _tolerances import assert_accurate, numpy64

from fastgan.ops import channel_dot, modulate, use_backend

# Planes and channel counts that 16 bytes divide and do not, of one pixel, of several slices.
SHAPES = [(1, 1), (7, 63), (3, 64, 1), (2, 7, 5, 9), (2, 16, 3, 3), (2, 24, 1, 4), (1, 3, 2, 5, 7),
          (2, 40, 12, 20), (1, 2, 67, 131)]  # fmt: skip
LONG = [(1, 3, 8193), (2, 1, 4096), (1, 5, 3, 4099), (1, 9, 70, 61)]


def random(shape, dtype, device, s_dtype=None):
    """x, s and dy of modulate."""
    x, dy = (torch.randn(shape, device=device).to(dtype) for _ in range(2))
    return x, torch.randn(shape[:2], device=device).to(s_dtype or dtype), dy


def run(x, s, dy, name="auto"):
    """y, dx, ds of modulate."""
    leaves = [t.detach().requires_grad_() for t in (x, s)]
    with use_backend(name):
        y = modulate(*leaves)
        return y.detach(), *torch.autograd.grad(y, leaves, dy)


def per_channel(s, x):
    return s.reshape(*s.shape, *(1,) * (x.ndim - 2))


def check_against_oracle(x, s, dy):
    y, dx, ds = run(x, s, dy)
    plain_y, plain_dx, plain_ds = run(x, s, dy, "reference")
    x64, s64, dy64 = numpy64(x), numpy64(s), numpy64(dy)
    places = tuple(range(2, x.dim()))
    want_y, want_dx, terms = x64 * per_channel(s64, x64), dy64 * per_channel(s64, x64), dy64 * x64
    assert_accurate(y, want_y, np.abs(want_y), plain=plain_y)
    assert_accurate(dx, want_dx, np.abs(want_dx), plain=plain_dx, what="dx")
    assert_accurate(ds, terms.sum(places), np.abs(terms).sum(places), plain=plain_ds, what="ds")
    assert y.dtype == dx.dtype == x.dtype
    assert ds.dtype == s.dtype
    return y, dx, ds


@pytest.mark.parametrize("is_wide", [False, True], ids=["s-like-x", "s-float32"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_modulate_values_and_gradients(shape, is_wide, lay_out, dtype, device, seed):
    x, s, dy = random(shape, dtype, device, torch.float32 if is_wide else None)
    x, dy = lay_out(x), lay_out(dy)
    y, dx, _ = check_against_oracle(x, lay_out(s), dy)
    assert y.is_contiguous(memory_format=dense_format(x))
    assert dx.is_contiguous(memory_format=dense_format(dy))


@pytest.mark.parametrize("shape", [*SHAPES, *LONG], ids=str)
def test_channel_dot_values_and_gradients(shape, lay_out, dtype, device, seed):
    x, _, y = random(shape, dtype, device)
    x, y = lay_out(x), lay_out(y)
    sum_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    dz = torch.randn(shape[:2], device=device, dtype=sum_dtype)
    results = []
    for name in ("auto", "reference"):
        leaves = [t.detach().requires_grad_() for t in (x, y)]
        with use_backend(name):
            z = channel_dot(*leaves)
            results.append((z.detach(), *torch.autograd.grad(z, leaves, dz)))
    (z, dx, dy), (_, plain_dx, plain_dy) = results
    assert z.dtype == sum_dtype  # 16-bit maps too: the limit below is float32's
    terms = numpy64(x) * numpy64(y)
    places = tuple(range(2, x.dim()))
    assert_accurate(z, terms.sum(places), np.abs(terms).sum(places), what="z")
    for got, plain, other, what in ((dx, plain_dx, y, "dx"), (dy, plain_dy, x, "dy")):
        want = numpy64(other) * per_channel(numpy64(dz), x)
        assert_accurate(got, want, np.abs(want), plain=plain, what=what)
        assert got.dtype == dtype


def test_channel_dot_over_several_slices_channels_last(dtype, device, seed):
    for channels in (1, 3, 8, 72):
        x, _, y = random((2, channels, 90, 91), dtype, device)
        x, y = (t.contiguous(memory_format=torch.channels_last) for t in (x, y))
        terms = numpy64(x) * numpy64(y)
        assert_accurate(channel_dot(x, y), terms.sum((2, 3)), np.abs(terms).sum((2, 3)))


def test_maps_of_two_layouts(device, seed):
    x, s, dy = random((2, 16, 4, 3), torch.float32, device)
    x = x.contiguous(memory_format=torch.channels_last)
    check_against_oracle(x, s, dy)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 3, 0), (0, 8, 4, 4)], ids=str)
def test_empty(shape, dtype, device):
    x, s, dy = random(shape, dtype, device)
    y, dx, ds = run(x, s, dy)
    assert y.shape == dx.shape == x.shape
    assert torch.equal(ds, torch.zeros_like(s))
    assert torch.equal(channel_dot(x, dy).to(dtype), torch.zeros_like(s))


@pytest.mark.parametrize("s_dtype", [torch.float64, torch.float16], ids=str)
def test_other_factors_are_cast_to_float32(s_dtype, device, seed):
    x, s, dy = random((2, 8, 3, 3), torch.bfloat16, device, s_dtype)
    y, _, ds = run(x, s, dy)
    assert torch.equal(y, (x.float() * s.float()[:, :, None, None]).bfloat16())
    assert ds.dtype == s_dtype


def test_a_float32_factor_is_not_rounded_to_16_bits(dtype, device):
    x = torch.full((1, 8, 2, 2), 3.0, dtype=dtype, device=device)
    s = torch.full((1, 8), 1 + 2**-10, device=device)  # bfloat16 has 1 or 1 + 2^-7
    assert torch.equal(modulate(x, s), torch.full_like(x, 3 * (1 + 2**-10)))


def test_nan_and_infinity_stay_in_their_channel(device):
    x = torch.ones(2, 8, 3, 3, device=device)
    s = torch.ones(2, 8, device=device)
    s[0, 3], s[1, 7] = math.nan, math.inf
    for t in (x, x.contiguous(memory_format=torch.channels_last)):
        y = modulate(t, s)
        assert y[0, 3].isnan().all()
        assert y[1, 7].isinf().all()
        assert y.isfinite().sum() == 14 * 9


def test_only_the_wanted_gradients_are_computed(device):
    x, s, _ = (t.requires_grad_() for t in random((2, 3, 2, 2), torch.float64, device))
    both = {"fastgan::channel_dot", "fastgan::modulate_backward"}
    with torch.profiler.profile() as profile:
        torch.autograd.grad(modulate(x, s).sum(), x)
    assert not both & {event.key for event in profile.key_averages()}
    with torch.profiler.profile() as profile:
        torch.autograd.grad(modulate(x.detach(), s).sum(), s)
    calls = [event.name for event in profile.events() if event.name.startswith("fastgan::mod")]
    assert calls == ["fastgan::modulate"]  # the forward pass alone


X, S = torch.zeros(2, 3, 4), torch.zeros(2, 3)
MAPS = {"planes": (2, 3, 4, 5), "rows": (2, 8, 3), "no places": (2, 3), "empty": (0, 3, 2)}
TINY = [(2, 3), (1, 2, 3), (2, 2, 2, 3), (2, 1, 2, 1, 2)]
LARGE = (2, 24, 80, 61)


def of_modulate(shape, call=modulate, **options):
    return Sample(call, {"x": shape, "s": shape[:2]}, wide=("s",), **options)


def of_channel_dot(shape, **options):
    return Sample(channel_dot, {"x": shape, "y": shape}, **options)


def twice(x, s):
    """An inner product with an image of itself: each op is differentiated through the other."""
    return channel_dot(modulate(x, s).tanh(), x)


OP_INFO = OpInfo(
    samples={
        f"{call} {name}": make(shape, **options)
        for call, make in (("modulate", of_modulate), ("channel_dot", of_channel_dot))
        for name, (shape, options) in {
            **{name: (shape, {}) for name, shape in MAPS.items()},
            "channels_last": ((2, 8, 4, 5), {"layout": "channels_last"}),
            "16 bits": ((2, 8, 3), {"dtype": torch.bfloat16}),
        }.items()
    },
    derivatives={
        **{f"modulate {shape}": of_modulate(shape) for shape in TINY},
        **{f"channel_dot {shape}": of_channel_dot(shape) for shape in TINY},
        "modulate channels_last": of_modulate((2, 2, 2, 3), layout="channels_last"),
        "channel_dot channels_last": of_channel_dot((2, 2, 2, 3), layout="channels_last"),
        "third order": of_modulate((1, 2, 2), first_gradient(lambda x, s: modulate(x, s).tanh())),
    },
    large={
        "planes": of_modulate(LARGE, twice),
        "channels_last": of_modulate(LARGE, twice, layout="channels_last"),
    },
    errors={
        "integer x": (TypeError, r"modulate: x must be .*int64; cast",
                      lambda: modulate(X.long(), S)),
        "dims of x": (ValueError, r"modulate: x must be \[N, C, \.\.\.\]",
                      lambda: modulate(X[0, 0], S)),
        "shape of s": (
            ValueError, r"modulate: s must have shape \(2, 3\) .*got \(2, 2\); one factor",
            lambda: modulate(X, S[:, :2])),
        "integer s": (TypeError, r"modulate: s must be float64, float32",
                      lambda: modulate(X, S.long())),
        "device of s": (ValueError, r"modulate: s must be on cpu like x, got meta",
                        lambda: modulate(X, S.to("meta"))),
        "integer dot": (TypeError, r"channel_dot: x must be .*int64",
                        lambda: channel_dot(X.long(), X)),
        "shape of y": (ValueError, r"channel_dot: y must be like x.*\(1, 3",
                       lambda: channel_dot(X, X[1:])),
        "dtype of y": (ValueError, r"y must be like x.*torch\.float64",
                       lambda: channel_dot(X, X.double())),
    },
)  # fmt: skip
