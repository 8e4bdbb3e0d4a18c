import math

import numpy as np
import pytest
import torch
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


def memory_format(x):
    """What an output is documented to take: channels_last where x is dense in it."""
    if x.is_contiguous():
        return torch.contiguous_format
    for dims, fmt in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if x.dim() == dims and x.is_contiguous(memory_format=fmt):
            return fmt
    return torch.contiguous_format


@pytest.mark.parametrize("is_wide", [False, True], ids=["s-like-x", "s-float32"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_modulate_values_and_gradients(shape, is_wide, lay_out, dtype, device, seed):
    x, s, dy = random(shape, dtype, device, torch.float32 if is_wide else None)
    x, dy = lay_out(x), lay_out(dy)
    y, dx, _ = check_against_oracle(x, lay_out(s), dy)
    assert y.is_contiguous(memory_format=memory_format(x))
    assert dx.is_contiguous(memory_format=memory_format(dy))


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


def graph_inputs(device, shape=(2, 3, 2, 2)):
    x, y = (torch.randn(shape, dtype=torch.float64, device=device) for _ in range(2))
    s = torch.randn(shape[:2], dtype=torch.float64, device=device)
    return x.requires_grad_(), s.requires_grad_(), y.requires_grad_()


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (2, 2, 2, 3), (2, 1, 2, 1, 2)], ids=str)
@pytest.mark.parametrize("fmt", ["contiguous", "channels_last"])
def test_two_orders_of_derivative(fmt, shape, device, seed):
    x, s, y = graph_inputs(device, shape)
    if fmt == "channels_last" and len(shape) == 4:
        x, y = (t.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
                for t in (x, y))  # fmt: skip
    for f, inputs in ((modulate, (x, s)), (channel_dot, (x, y))):
        assert torch.autograd.gradcheck(f, inputs)
        assert torch.autograd.gradgradcheck(f, inputs)


def test_third_derivative(device, seed):
    x, s, _ = graph_inputs(device, (1, 2, 2))

    def second(x, s):
        y = modulate(x, s).tanh()
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), [x, s], create_graph=True)

    assert torch.autograd.gradcheck(second, (x, s))


def test_gradient_penalty_equals_plain_pytorch(device, seed):
    """The gradient of every leaf of ‖∂f/∂x‖², each by name: what a wrong second order spoils."""
    x, s, d = (t.detach() for t in graph_inputs(device, (3, 4, 5)))
    values = {"x": x, "s": s, "d": d.sum(2)}

    def penalty_gradients(name):
        leaves = {k: v.clone().requires_grad_() for k, v in values.items()}
        with use_backend(name):
            y = modulate(modulate(leaves["x"], leaves["s"]).tanh(), leaves["d"])
            (g,) = torch.autograd.grad(y.square().sum(), leaves["x"], create_graph=True)
            return dict(zip(leaves, torch.autograd.grad(g.square().sum(), list(leaves.values())),
                            strict=True))  # fmt: skip

    ours, plain = penalty_gradients("auto"), penalty_gradients("reference")
    for name in values:
        torch.testing.assert_close(ours[name], plain[name], rtol=1e-12, atol=1e-12, msg=name)


def test_only_the_wanted_gradients_are_computed(device):
    x, s, _ = graph_inputs(device)
    with torch.profiler.profile() as profile:
        torch.autograd.grad(modulate(x, s).sum(), x)
    assert "fastgan::channel_dot" not in {event.key for event in profile.key_averages()}
    with torch.profiler.profile() as profile:
        torch.autograd.grad(modulate(x.detach(), s).sum(), s)
    calls = [event for event in profile.events() if event.name == "fastgan::modulate"]
    assert len(calls) == 1  # the forward pass alone


SAMPLES = {
    "planes": ((2, 3, 4, 5), torch.float32, "contiguous"),
    "channels_last": ((2, 8, 4, 5), torch.float32, "channels_last"),
    "16 bits": ((2, 8, 3), torch.bfloat16, "contiguous"),
    "no places": ((2, 3), torch.float32, "contiguous"),
    "empty": ((0, 3, 2), torch.float32, "contiguous"),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_opcheck(sample, device, seed):
    shape, dtype, fmt = SAMPLES[sample]
    x, s, y = random(shape, dtype, device, torch.float32)
    if fmt == "channels_last":
        x, y = (t.contiguous(memory_format=torch.channels_last) for t in (x, y))
    x.requires_grad_(), s.requires_grad_(), y.requires_grad_()
    torch.library.opcheck(torch.ops.fastgan.modulate.default, (x, s))
    torch.library.opcheck(torch.ops.fastgan.channel_dot.default, (x, y))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
@pytest.mark.parametrize(
    "engine",
    ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)],
)
def test_compiles_without_a_graph_break(engine, device, seed):
    x, s, dy = random((2, 3, 4, 5), torch.float32, device)
    torch.compiler.reset()
    compiled = torch.compile(modulate, fullgraph=True, backend=engine)
    leaves = x.requires_grad_(), s.requires_grad_()
    y = compiled(*leaves)
    grads = torch.autograd.grad(y, leaves, dy)
    for got, value in zip((y, *grads), run(x, s, dy), strict=True):
        torch.testing.assert_close(got, value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
def test_the_same_bits_every_time(fmt, backend, device, seed):
    if backend == "reference":
        pytest.skip("plain PyTorch promises no order of summation")
    x, _, y = random((2, 24, 80, 61), torch.float32, device)
    x, y = (t.contiguous(memory_format=fmt) for t in (x, y))
    first = channel_dot(x, y)
    for _ in range(2):
        assert torch.equal(channel_dot(x, y), first)


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("width", [5, 8])
def test_64_bit_indices_change_no_bit(width, fmt, dtype, backend, device, seed, monkeypatch):
    if backend != "emulator":
        pytest.skip("only the emulator lowers the limit of 32-bit indices")
    x, s, y = random((2, 8, 7, width), dtype, device, torch.float32)
    x, y = (t.contiguous(memory_format=fmt) for t in (x, y))
    results = []
    for limit in (x.numel(), x.numel() - 1):
        monkeypatch.setenv("FASTGAN_EMULATOR_NARROW_LIMIT", str(limit))
        results.append((modulate(x, s), channel_dot(x, y)))
    for narrow, wide in zip(*results, strict=True):
        assert torch.equal(narrow, wide)


X, S = torch.zeros(2, 3, 4), torch.zeros(2, 3)
ERRORS = {
    "integer x": (modulate, (X.long(), S), TypeError, r"modulate: x must be .*int64; cast"),
    "dims of x": (modulate, (X[0, 0], S), ValueError, r"modulate: x must be \[N, C, \.\.\.\]"),
    "shape of s": (
        modulate,
        (X, S[:, :2]),
        ValueError,
        r"modulate: s must have shape \(2, 3\) .*got \(2, 2\); one factor",
    ),
    "integer s": (modulate, (X, S.long()), TypeError, r"modulate: s must have a floating dtype"),
    "device of s": (
        modulate,
        (X, S.to("meta")),
        ValueError,
        r"modulate: s must be on cpu like x, got meta",
    ),
    "integer dot": (channel_dot, (X.long(), X), TypeError, r"channel_dot: x must be .*int64"),
    "shape of y": (channel_dot, (X, X[1:]), ValueError, r"channel_dot: y must be like x.*\(1, 3"),
    "dtype of y": (channel_dot, (X, X.double()), ValueError, r"y must be like x.*torch\.float64"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_argument(name):
    op, args, error, message = ERRORS[name]
    with pytest.raises(error, match=message):
        op(*args)
