# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from _op_info import OpInfo, Sample, first_gradient
from _tolerances import assert_accurate, numpy64

from fastgan.ops import demodulation, use_backend

# (O, I, ...) with N: rows that 16 bytes divide and do not, 1, 9 and other taps, odd outputs, two
# tiles of inputs, more samples than a block has warps.
CASES = {
    "3x3": ((5, 16, 3, 3), 3),
    "3x3 ragged": ((4, 7, 3, 3), 2),
    "1x1": ((6, 24, 1, 1), 9),
    "5x5": ((3, 8, 5, 5), 1),
    "1d": ((2, 9, 4), 7),
    "linear": ((3, 63), 17),
    "one": ((1, 1, 1, 1), 1),
    "two tiles": ((3, 1032, 3, 3), 2),
    "two ragged tiles": ((2, 2050), 9),
}
ODD = {
    "no samples": ((3, 8, 3, 3), 0),
    "no outputs": ((0, 8, 3, 3), 2),
    "no inputs": ((3, 0, 3, 3), 2),
    "no taps": ((3, 2, 0), 2),
}
EPS = 1e-8


def random(shape, n, dtype, device):
    w = torch.randn(shape, device=device).to(dtype)
    s = torch.randn(n, shape[1], device=device)
    return w, s, torch.randn(n, shape[0], device=device)


def run(w, s, dd, name="auto", eps=EPS):
    """d, dw, ds."""
    leaves = [t.detach().requires_grad_() for t in (w, s)]
    with use_backend(name):
        d = demodulation(*leaves, eps)
        return d.detach(), *torch.autograd.grad(d, leaves, dd.to(d.dtype))


def oracle(w, s, dd, eps=EPS):
    """(d, dw, ds) and the magnitudes that make dw and ds, in float64."""
    w, s, dd = numpy64(w), numpy64(s), numpy64(dd)
    places = tuple(range(2, w.ndim))
    e = (w**2).sum(places)
    d = 1 / np.sqrt(s**2 @ e.T + eps)
    g = -0.5 * dd * d**3  # [N, O]
    ds, ds_scale = 2 * s * (g @ e), 2 * np.abs(s) * (np.abs(g) @ e)
    de = (g.T @ s**2).reshape(*e.shape, *(1,) * len(places))
    de_scale = (np.abs(g).T @ s**2).reshape(de.shape)
    return d, 2 * w * de, ds, 2 * np.abs(w) * de_scale, ds_scale


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case, lay_out, dtype, device, seed):
    w, s, dd = random(*CASES[case], dtype, device)
    w, s = lay_out(w), lay_out(s)
    d, dw, ds = run(w, s, dd)
    plain_d, plain_dw, plain_ds = run(w, s, dd, "reference")
    want_d, want_dw, want_ds, dw_scale, ds_scale = oracle(w, s, dd)
    assert d.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert_accurate(d, want_d, want_d, plain=plain_d, what="d", or_twice_plain=True)
    # Both hold d³, and the sums that make d have up to I·K terms.
    assert_accurate(dw, want_dw, 3 * dw_scale, plain=plain_dw, what="dw", or_twice_plain=True)
    assert_accurate(ds, want_ds, 3 * ds_scale, plain=plain_ds, what="ds", or_twice_plain=True)
    assert dw.dtype == dtype
    assert ds.dtype == s.dtype


def test_gives_modulated_weights_unit_norm(device, seed):
    w, s, _ = random((6, 24, 3, 3), 4, torch.float64, device)
    d = demodulation(w, s.double())
    modulated = w * s.double()[:, None, :, None, None] * d[:, :, None, None, None]
    norm = modulated.square().sum((2, 3, 4))
    torch.testing.assert_close(norm, torch.ones_like(norm), rtol=1e-8, atol=0)


@pytest.mark.parametrize("case", ODD)
def test_empty(case, dtype, device):
    w, s, dd = random(*ODD[case], dtype, device)
    d, dw, ds = run(w, s, dd, eps=0.25)
    assert torch.equal(d, torch.full_like(d, 2.0))
    assert torch.equal(dw, torch.zeros_like(w))
    assert torch.equal(ds, torch.zeros_like(s))


def test_zero_weights_give_a_finite_factor(device):
    w = torch.zeros(2, 8, 3, 3, device=device)
    d, dw, ds = run(w, torch.ones(3, 8, device=device), torch.ones(3, 2, device=device))
    torch.testing.assert_close(d, torch.full_like(d, 1e4))
    assert torch.equal(dw, torch.zeros_like(dw))
    assert torch.equal(ds, torch.zeros_like(ds))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_16_bit_weights_are_squared_in_float32(dtype, device):
    """300² and 2·10^5 ones overflow float16, and bfloat16 stops counting at 256."""
    w = torch.full((1, 8, 3, 3), 300.0, dtype=dtype, device=device)
    s = torch.ones(1, 8, device=device)
    d = demodulation(w, s)
    torch.testing.assert_close(d, (72 * w.float()[0, 0, 0, 0].square()).rsqrt()[None, None])


def test_16_bit_styles_are_used_in_float32(device, seed):
    w, s, _ = random((8, 16, 3, 3), 4, torch.float32, device)
    low = s.bfloat16()
    assert demodulation(w, low).dtype == torch.float32
    assert torch.equal(demodulation(w, low), demodulation(w, low.float()))


def test_second_derivatives_are_float32_under_autocast(device, seed):
    w, s, dd = random((4, 8, 3, 3), 3, torch.float32, device)
    leaves = [t.requires_grad_() for t in (w, s, dd)]
    found = []
    for is_on in (False, True):
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=is_on):
            dw, ds = torch.autograd.grad(demodulation(w, s), [w, s], dd, create_graph=True)
            loss = dw.square().sum() + ds.square().sum()
            found.append(torch.autograd.grad(loss, leaves))
    for plain, cast in zip(*found, strict=True):
        assert torch.equal(plain, cast)


W, S = torch.zeros(4, 3, 3, 3), torch.zeros(2, 3)
SHAPES = {
    "maps": ((4, 8, 3, 3), {}),
    "channels_last": ((3, 8, 3, 3), {"layout": "channels_last"}),
    "matrix": ((3, 5), {}),
    "empty": ((0, 4, 1, 1), {}),
    "16 bits": ((4, 8, 3, 3), {"dtype": torch.bfloat16}),
}


def of(shape, n=3, call=lambda w, s: demodulation(w, s, 0.1), **options):
    return Sample(call, {"w": shape, "s": (n, shape[1])}, wide=("s",), **options)


OP_INFO = OpInfo(
    samples={name: of(shape, **options) for name, (shape, options) in SHAPES.items()},
    derivatives={
        **{str(shape): of(shape, 2) for shape in ((2, 3), (3, 2, 2), (2, 3, 2, 1))},
        "third order": Sample(
            first_gradient(lambda s, w: demodulation(w, s, 0.5)), {"s": (1, 2), "w": (2, 2)}
        ),
    },
    large={
        "two ragged tiles": of((5, 1030, 3, 3), 9),
        "default eps": of((4, 6, 3, 3), 3, demodulation),
    },
    by_matmul=("dw", "ds"),
    errors={
        "integer w": (TypeError, r"demodulation: w must be float64, float32",
                      lambda: demodulation(W.long(), S)),
        "integer s": (TypeError, r"demodulation: s must be float64, float32",
                      lambda: demodulation(W, S.long())),
        "dims of w": (ValueError, r"demodulation: w must be \[O, I, \.\.\.\].*\(3,\)",
                      lambda: demodulation(W[0, 0, 0], S)),
        "shape of s": (
            ValueError, r"demodulation: s must have shape \[N, 3\] for w of shape .*got \(2, 2\)",
            lambda: demodulation(W, S[:, :2])),
        "device of s": (ValueError, r"s must be on cpu like w, got meta",
                        lambda: demodulation(W, S.to("meta"))),
        "eps": (ValueError, r"demodulation: eps must be > 0, got 0\.0",
                lambda: demodulation(W, S, 0.0)),
    },
)  # fmt: skip
