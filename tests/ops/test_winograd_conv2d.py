# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
import torch
import torch.nn.functional as F
from _op_info import OpInfo, Sample, first_gradient
from _tolerances import assert_accurate, errors, numpy64
from _winograd import conv_scale, weight_scale
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.ops import _backend, conv2d, conv2d_choice, use_backend, use_winograd, winograd_conv2d
from fastgan.ops._convolutions.conv2d import _choose, _Facts
from fastgan.ops.winograd_conv2d import LARGEST_ERROR

CL = torch.channels_last
WEIGHT = torch.ops.fastgan.winograd_conv2d_weight.default
CONV = torch.ops.fastgan.winograd_conv2d.default
# n, c, k, h, w, padding: around one tile of 4×4, a vector, a chunk of 64 channels, a block of tiles
SHAPES = {
    "one pixel": (1, 1, 1, 1, 1, (1, 1)),
    "one tile": (1, 1, 1, 4, 4, (1, 1)),
    "no padding": (2, 3, 5, 7, 9, (0, 0)),
    "largest padding": (2, 3, 5, 7, 9, (2, 2)),
    "unequal padding": (1, 7, 2, 5, 6, (2, 0)),
    "one row": (3, 5, 7, 1, 63, (1, 1)),
    "vectors and one": (1, 17, 33, 13, 6, (1, 1)),
    "chunks and more": (1, 130, 129, 9, 18, (1, 1)),
    "blocks of tiles": (5, 8, 8, 21, 30, (1, 1)),
    "parts of tiles": (3, 64, 64, 32, 36, (1, 1)),
    "no samples": (0, 3, 4, 8, 8, (1, 1)),
    "no inputs": (2, 0, 4, 8, 8, (1, 1)),
    "no outputs": (2, 4, 0, 8, 8, (1, 1)),
}
EMPTY = {"no samples", "no inputs", "no outputs"}


@pytest.fixture(autouse=True)
def kernel(backend):
    if backend == "emulator":
        pytest.skip("the emulator runs CUDA kernels, and this op has none")


@pytest.fixture
def native(backend):
    if backend != "cpu":
        pytest.skip("needs the native CPU library: --backend cpu")
    return _backend.native_module()


@pytest.fixture(params=["float64", "float32"])
def real(request):
    return getattr(torch, request.param)


def random(shape, dtype, device, lay_out=None):
    x = torch.randn(shape, device=device).to(dtype)
    return x if lay_out is None else lay_out(x)


def wanted(x, w, dy, padding):
    """y, dx and dw by float64 convolutions."""
    x, w, dy = (t.double() for t in (x, w, dy))
    x.requires_grad_(), w.requires_grad_()
    y = F.conv2d(x, w, padding=padding)
    return (y.detach(), *torch.autograd.grad(y, [x, w], dy))


def check(x, w, dy, padding):
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    y = winograd_conv2d(x, w, padding)
    dx, dw = torch.autograd.grad(y, [x, w], dy)
    want_y, want_dx, want_dw = wanted(x.detach(), w.detach(), dy, padding)
    for got in (y, dx, dw):
        assert got.dtype == x.dtype
    assert_accurate(y, want_y, conv_scale(x, w, padding), what="y")
    flipped = numpy64(w).transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    rest = tuple(2 - p for p in padding)
    assert_accurate(dx, want_dx, conv_scale(dy, flipped, rest), what="dx")
    assert_accurate(dw, want_dw, weight_scale(x, dy, padding), what="dw")
    return y, dx, dw


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_values_and_gradients(name, layout, real, device, seed):
    n, c, k, h, w, padding = SHAPES[name]
    fmt = CL if layout == "channels_last" else torch.contiguous_format
    x = random((n, c, h, w), real, device).contiguous(memory_format=fmt)
    weight = random((k, c, 3, 3), real, device)
    size = (n, k, h + 2 * padding[0] - 2, w + 2 * padding[1] - 2)
    dy = random(size, real, device).contiguous(memory_format=fmt)
    if name not in EMPTY:
        y, _, _ = check(x, weight, dy, padding)
        assert y.is_contiguous(memory_format=fmt)
        return
    y = winograd_conv2d(x.requires_grad_(), weight.requires_grad_(), padding)
    dx, dw = torch.autograd.grad(y, [x, weight], dy)
    assert y.shape == size
    for got, like in ((y, y), (dx, x), (dw, weight)):
        assert got.shape == like.shape
        assert not got.any()


def test_layouts(lay_out, device, seed):
    x = random((2, 5, 6, 7), torch.float32, device, lay_out)
    w = random((4, 5, 3, 3), torch.float32, device, lay_out)
    check(x, w, random((2, 4, 6, 7), torch.float32, device, lay_out), (1, 1))


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_every_instruction_set(isa, native, device, seed):
    if isa not in native.supported_isas():
        pytest.skip(f"this processor has no {isa}")
    before = native.active_isa()
    native.limit_isa(isa)
    try:
        for name in ("unequal padding", "vectors and one", "chunks and more", "parts of tiles"):
            n, c, k, h, w, padding = SHAPES[name]
            size = (n, k, h + 2 * padding[0] - 2, w + 2 * padding[1] - 2)
            tensors = [random(s, torch.float32, device) for s in ((n, c, h, w), (k, c, 3, 3), size)]
            check(*tensors, padding)
    finally:
        native.limit_isa(before)


def test_what_lies_outside_the_map_is_not_read(device, seed):
    """A map between NaNs, of which one would spoil a whole tile."""
    parent = torch.full((3, 8, 9, 9), float("nan"), device=device).contiguous(memory_format=CL)
    x = parent[1:2].copy_(torch.randn(1, 8, 9, 9))
    dy = torch.randn(1, 3, 9, 9, device=device)
    check(x, random((3, 8, 3, 3), torch.float32, device), dy, (1, 1))


def test_a_nan_stays_in_its_tile(device):
    x = torch.zeros(1, 2, 16, 16, device=device)
    x[0, 0, 5, 5] = float("nan")
    y = winograd_conv2d(x, torch.ones(2, 2, 3, 3, device=device))
    assert y[:, :, 4:7, 4:7].isnan().all()
    assert not y[:, :, 8:, :].isnan().any()
    assert not y[:, :, :, 8:].isnan().any()


@pytest.mark.parametrize("channels", LARGEST_ERROR)
def test_the_error_is_as_documented(channels, native, device, seed):
    """In units of eps · Σ|x||w| over the 3×3 window, for standard normal maps and weights."""
    x = random((1, channels, 16, 16), torch.float32, device)
    w, dy = (
        random(s, torch.float32, device)
        for s in ((channels, channels, 3, 3), (1, channels, 16, 16))
    )
    x, w = x.requires_grad_(), w.requires_grad_()
    y = winograd_conv2d(x, w)
    dx, dw = torch.autograd.grad(y, [x, w], dy)
    want = wanted(x.detach(), w.detach(), dy, (1, 1))
    scale = wanted(x.detach().abs(), w.detach().abs(), dy.abs(), (1, 1))
    found = [float(errors(a, b, c).max()) for a, b, c in zip((y, dx, dw), want, scale, strict=True)]
    for got, limit in zip(found, LARGEST_ERROR[channels], strict=True):
        assert got <= 1.5 * limit, (found, LARGEST_ERROR[channels])


def test_the_weight_op_has_every_derivative(device, seed):
    x = torch.randn(2, 2, 4, 5, dtype=torch.float64, device=device, requires_grad=True)
    dy = torch.randn(2, 3, 4, 5, dtype=torch.float64, device=device, requires_grad=True)
    call = lambda x, dy: WEIGHT(x, dy, 1, 1)  # noqa: E731
    assert torch.autograd.gradcheck(call, (x, dy))
    assert torch.autograd.gradgradcheck(call, (x, dy))


def test_a_penalty_on_the_gradient_equals_torchs(device, seed):
    """R1 through two layers."""
    x = torch.randn(2, 3, 8, 8, device=device, dtype=torch.float64, requires_grad=True)
    ws = [torch.randn(s, device=device, dtype=torch.float64, requires_grad=True)
          for s in ((4, 3, 3, 3), (2, 4, 3, 3))]  # fmt: skip

    def penalty(conv):
        y = conv(F.softplus(conv(x, ws[0], padding=1)), ws[1], padding=1)
        (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), ws)

    for got, want in zip(penalty(winograd_conv2d), penalty(F.conv2d), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("wanted_input", [0, 1])
def test_only_the_gradient_that_is_wanted_is_computed(wanted_input, device, monkeypatch):
    from torch.utils._python_dispatch import TorchDispatchMode

    called = []

    class Listen(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            called.append(func)
            return func(*args, **(kwargs or {}))

    inputs = [torch.randn(1, 2, 4, 4, device=device), torch.randn(2, 2, 3, 3, device=device)]
    inputs[wanted_input].requires_grad_()
    y = winograd_conv2d(*inputs)
    with Listen():
        torch.autograd.grad(y.sum(), inputs[wanted_input])
    assert [CONV in called, WEIGHT in called] == [wanted_input == 0, wanted_input == 1]


def test_threads_change_no_bit(native, device, seed):
    x = random((3, 72, 37, 40), torch.float32, device).contiguous(memory_format=CL)
    w, dy = random((80, 72, 3, 3), torch.float32, device), random((3, 80, 37, 40), x.dtype, device)
    results, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append((CONV(x, w, 1, 1, False), CONV(dy, w, 1, 1, True), WEIGHT(x, dy, 1, 1)))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 3), c=st.integers(1, 20), k=st.integers(1, 20), h=st.integers(1, 12),
    w=st.integers(1, 12), pads=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)  # fmt: skip
def test_random_calls(device, n, c, k, h, w, pads):
    if h + 2 * pads[0] < 3 or w + 2 * pads[1] < 3:
        return
    torch.manual_seed(n + c + k + h + w)
    dy = torch.randn(n, k, h + 2 * pads[0] - 2, w + 2 * pads[1] - 2, device=device)
    x, weight = torch.randn(n, c, h, w, device=device), torch.randn(k, c, 3, 3, device=device)
    check(x, weight, dy, pads)


X, W = torch.zeros(1, 2, 5, 5), torch.zeros(3, 2, 3, 3)
ERRORS = {
    "padding": (ValueError, r"winograd_conv2d: padding must be 0, 1 or 2.*got 3",
                lambda: winograd_conv2d(X, W, 3)),
    "dtype": (TypeError, r"winograd_conv2d: x and w must both be float32 or float64.*bfloat16",
              lambda: winograd_conv2d(X.bfloat16(), W.bfloat16())),
    "two dtypes": (TypeError, r"winograd_conv2d: x and w must both be.*float64 and.*float32",
                   lambda: winograd_conv2d(X.double(), W)),
    "small": (ValueError, r"winograd_conv2d: x must be \[N, C, H, W\] with padded maps of 3×3",
              lambda: winograd_conv2d(X[:, :, :2], W, 0)),
    "dimensions": (ValueError, r"winograd_conv2d: x must be", lambda: winograd_conv2d(X[0], W)),
    "weight": (ValueError, r"winograd_conv2d: w must be \[K, 2, 3, 3\].*got \(3, 2, 5, 5\)",
               lambda: winograd_conv2d(X, torch.zeros(3, 2, 5, 5))),
    "conv2d's padding": (ValueError, r"conv2d: padding must be an int ≥ 0 or a pair.*'same'",
                         lambda: conv2d(X, W, padding="same")),
    "conv2d's stride": (ValueError, r"conv2d: stride must be.*got \(1,\)",
                        lambda: conv2d(X, W, stride=(1,))),
    "setting": (ValueError, r"use_winograd: setting must be one of auto, 0, 1, got 'yes'",
                lambda: use_winograd("yes").__enter__()),
}  # fmt: skip


# --- conv2d, which chooses

LARGE = _Facts((8, 64, 32, 32), (64, 64, 3, 3), (1, 1), (1, 1), 1, (torch.float32,) * 2,
               "cpu", False, "avx2", 1, "auto")  # fmt: skip
REFUSALS = {
    "off": ({"setting": "0"}, "off"),
    "cuda": ({"device_type": "cuda"}, "cuDNN"),
    "no library": ({"isa": None}, "no native kernel"),
    "autocast": ({"is_autocast": True}, "autocast"),
    "bfloat16": ({"dtypes": (torch.bfloat16,) * 2}, "bfloat16"),
    "a bias of another dtype": ({"dtypes": (torch.float32,) * 2 + (torch.float64,)}, "float64"),
    "stride": ({"stride": (1, 2)}, "stride"),
    "a large stride": ({"stride": (3, 3)}, "stride"),
    "stride in groups": ({"stride": (2, 2), "groups": 2, "w": (64, 32, 3, 3)}, "in groups"),
    "groups": ({"groups": 2}, "do not fit"),
    "kernel": ({"w": (64, 64, 5, 5)}, "3×3"),
    "padding": ({"padding": (3, 3)}, "padding"),
    "channels": ({"w": (64, 32, 3, 3)}, "do not fit"),
    "no pixels": ({"x": (8, 64, 2, 2), "padding": (0, 0)}, "do not fit"),
}
SLOWER = {
    "baseline": ({"isa": "baseline"}, "AVX"),
    "few inputs": ({"x": (8, 3, 32, 32), "w": (64, 3, 3, 3)}, "channels"),
    "few outputs": ({"w": (3, 64, 3, 3)}, "channels"),
    "small maps": ({"x": (8, 64, 4, 4)}, "tiles"),
    "many threads": ({"threads": 64}, "tiles"),
}


@pytest.mark.parametrize("name", REFUSALS | SLOWER)
def test_the_choice_explains_itself(name):
    change, reason = (REFUSALS | SLOWER)[name]
    choice = _choose(LARGE._replace(**change))
    assert not choice.is_winograd
    assert reason in choice.reason
    forced = _choose(LARGE._replace(**({"setting": "1"} | change)))
    assert forced.is_winograd == (name in SLOWER)


def test_the_choice_at_large_maps():
    assert _choose(LARGE) == (True, "measured to be faster at these shapes", "winograd_conv2d")
    assert _choose(LARGE._replace(setting="1")).reason.startswith("Winograd is forced")


def test_a_larger_problem_is_never_refused_where_a_smaller_one_is_taken():
    """More samples, channels or pixels: the thresholds have no holes."""
    sizes = itertools.product((1, 4, 16), (32, 64, 256), (64, 512), (8, 16, 64))
    taken = {}
    for n, c, k, s in sizes:
        taken[n, c, k, s] = _choose(LARGE._replace(x=(n, c, s, s), w=(k, c, 3, 3))).is_winograd
    for small, large in itertools.product(taken, taken):
        if taken[small] and all(a <= b for a, b in zip(small, large, strict=True)):
            assert taken[large], (small, large)
    assert set(taken.values()) == {True, False}


CASES = {"large": (2, 64, 64, 32), "small": (2, 4, 5, 9)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("has_bias", [False, True])
def test_conv2d_is_what_it_says(case, has_bias, native, device, seed):
    n, c, k, s = CASES[case]
    x = random((n, c, s, s), torch.float32, device).contiguous(memory_format=CL).requires_grad_()
    w = random((k, c, 3, 3), torch.float32, device).requires_grad_()
    b = random((k,), torch.float32, device).requires_grad_() if has_bias else None
    leaves = [t for t in (x, w, b) if t is not None]
    run = lambda conv: (y := conv(x, w, b, padding=1), *torch.autograd.grad(y.sum(), leaves))  # noqa: E731
    plain = run(F.conv2d)
    for setting in ("0", "auto", "1"):
        with use_winograd(setting):
            got, choice = run(conv2d), conv2d_choice(x, w, b, padding=1)
        if not choice.is_winograd:
            assert all(map(torch.equal, got, plain))
        else:
            assert got[0].grad_fn.name() != plain[0].grad_fn.name()
            for a, p in zip(got, plain, strict=True):
                torch.testing.assert_close(a, p, rtol=1e-4, atol=1e-3)
    with use_backend("reference"):
        assert all(map(torch.equal, run(conv2d), plain))


def test_the_environment_switches(native, device, monkeypatch):
    x = torch.zeros(8, 64, 32, 32, device=device).contiguous(memory_format=CL)
    w = torch.zeros(64, 64, 3, 3, device=device)
    if native.active_isa() == "baseline":
        pytest.skip("this processor has no AVX2: nothing to switch off")
    assert conv2d_choice(x, w, padding=1).is_winograd
    monkeypatch.setenv("FASTGAN_WINOGRAD", "0")
    assert not conv2d_choice(x, w, padding=1).is_winograd
    with use_winograd("auto"):
        assert conv2d_choice(x, w, padding=1).is_winograd
    monkeypatch.setenv("FASTGAN_WINOGRAD", "yes")
    with pytest.raises(ValueError, match="FASTGAN_WINOGRAD: expected one of auto, 0, 1"):
        conv2d(x, w, padding=1)


def test_autocast_goes_to_torch(device, seed):
    x, w = torch.randn(2, 64, 32, 32, device=device), torch.randn(64, 64, 3, 3, device=device)
    with torch.autocast(device.type, torch.bfloat16), use_winograd("1"):
        y = conv2d(x, w, padding=1)
        assert torch.equal(y, F.conv2d(x, w, padding=1))
    assert y.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "engine",
    ["aot_eager", pytest.param("inductor", marks=[pytest.mark.slow, pytest.mark.inductor])],
)
def test_compiles_without_a_graph_break(engine, device, seed):
    torch.compiler.reset()
    x = torch.randn(2, 64, 32, 32, device=device).contiguous(memory_format=CL).requires_grad_()
    w = torch.randn(64, 64, 3, 3, device=device, requires_grad=True)
    run = lambda x, w: conv2d(x, w, padding=1)  # noqa: E731
    y = torch.compile(run, fullgraph=True, backend=engine)(x, w)
    got = torch.autograd.grad(y.sum(), [x, w])
    want_y = run(x, w)
    torch.testing.assert_close(y, want_y)
    for a, b in zip(got, torch.autograd.grad(want_y.sum(), [x, w]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def of(x, w, padding, first_order=True, **more):
    def call(x, w):
        return winograd_conv2d(x, w, padding)

    return Sample(call if first_order else first_gradient(call), {"x": x, "w": w}, **more)


TINY = (1, 2, 5, 4), (2, 2, 3, 3)
OP_INFO = OpInfo(
    samples={
        "one pixel": of((1, 1, 1, 1), (1, 1, 3, 3), 1),
        "channels_last": of((2, 4, 8, 8), (4, 4, 3, 3), 1, layout="channels_last"),
        "unequal padding": of((1, 7, 5, 6), (2, 7, 3, 3), (2, 0)),
        "vectors and one": of((1, 17, 5, 6), (9, 17, 3, 3), 1),
        "no samples": of((0, 3, 8, 8), (4, 3, 3, 3), 1),
    },
    derivatives={
        **{f"padding {padding}": of(*TINY, padding) for padding in [0, 1, 2, (1, 0)]},
        "third order": of((1, 1, 3, 3), (2, 1, 3, 3), 1, first_order=False),
    },
    large={"chunks of channels": of((2, 72, 21, 22), (70, 72, 3, 3), 1, layout="channels_last")},
    errors=ERRORS,
)
