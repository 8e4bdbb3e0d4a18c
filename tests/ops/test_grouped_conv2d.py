# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _op_info import OpInfo, Sample, first_gradient
from _tolerances import assert_accurate, errors
from _winograd import conv_scale, weight_scale
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.ops import _backend, conv2d, conv2d_choice, grouped_conv2d, use_backend, use_winograd
from fastgan.ops._convolutions.conv2d import _choose, _Facts
from fastgan.ops.grouped_conv2d import LARGEST_ERROR

CL = torch.channels_last
CONV = torch.ops.fastgan.grouped_conv2d.default
WEIGHT = torch.ops.fastgan.grouped_conv2d_weight.default
# n, groups, inputs and outputs of a group, h, w, padding: around a tile, a vector, a chunk, a block
SHAPES = {
    "one pixel": (1, 1, 1, 1, 1, 1, (1, 1)),
    "depthwise": (2, 19, 1, 1, 7, 9, (0, 0)),
    "groups of 8": (1, 3, 8, 8, 9, 5, (2, 2)),
    "groups of 16": (3, 4, 16, 16, 13, 18, (1, 1)),
    "groups of 32": (1, 2, 32, 32, 6, 6, (1, 1)),
    "unequal padding": (1, 3, 7, 2, 5, 6, (2, 0)),
    "one row": (3, 2, 5, 7, 1, 63, (1, 1)),
    "vectors across groups": (1, 5, 3, 24, 6, 7, (1, 1)),
    "one group": (1, 1, 33, 17, 9, 8, (1, 1)),
    "fewer inputs": (2, 2, 4, 16, 8, 8, (1, 1)),
    "runs of panels": (1, 18, 16, 16, 5, 4, (1, 1)),
    "parts of tiles": (3, 2, 16, 16, 32, 36, (1, 1)),
    "no samples": (0, 2, 3, 4, 8, 8, (1, 1)),
}


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


def make(name, dtype, device):
    """x, w, dy, groups, padding of a shape."""
    n, groups, ci, ko, h, w, padding = SHAPES[name]
    size = (n, groups * ko, h + 2 * padding[0] - 2, w + 2 * padding[1] - 2)
    shapes = (n, groups * ci, h, w), (groups * ko, ci, 3, 3), size
    return *(torch.randn(s, device=device).to(dtype) for s in shapes), groups, padding


def wanted(x, w, dy, groups, padding):
    """y, dx and dw by float64 convolutions."""
    x, w, dy = (t.detach().double() for t in (x, w, dy))
    x.requires_grad_(), w.requires_grad_()
    y = F.conv2d(x, w, padding=padding, groups=groups)
    return (y.detach(), *torch.autograd.grad(y, [x, w], dy))


def run(x, w, dy, groups, padding):
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    y = grouped_conv2d(x, w, groups, padding)
    return (y, *torch.autograd.grad(y, [x, w], dy))


def per_group(scale, groups, *tensors, join):
    """`scale` of what each group adds up, side by side. tensors: cut along a dimension each."""
    parts = zip(*(t.chunk(groups, dim) for t, dim in tensors), strict=True)
    return np.concatenate([scale(*part) for part in parts], join)


def check(x, w, dy, groups, padding):
    got = y, dx, dw = run(x, w, dy, groups, padding)
    assert all(t.dtype == x.dtype for t in got)
    want_y, want_dx, want_dw = wanted(x, w, dy, groups, padding)
    rest = tuple(2 - p for p in padding)
    forward = per_group(lambda x, w: conv_scale(x, w, padding), groups, (x, 1), (w, 0), join=1)
    back = per_group(lambda dy, w: conv_scale(dy, w.transpose(0, 1).flip(2, 3), rest),
                     groups, (dy, 1), (w, 0), join=1)  # fmt: skip
    weight = per_group(lambda x, dy: weight_scale(x, dy, padding), groups, (x, 1), (dy, 1), join=0)
    assert_accurate(y, want_y, forward, what="y")
    assert_accurate(dx, want_dx, back, what="dx")
    assert_accurate(dw, want_dw, weight, what="dw")
    return got


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_values_and_gradients(name, layout, real, device, seed):
    x, w, dy, groups, padding = make(name, real, device)
    fmt = CL if layout == "channels_last" else torch.contiguous_format
    x, dy = (t.contiguous(memory_format=fmt) for t in (x, dy))
    if name == "no samples":
        y, dx, dw = run(x, w, dy, groups, padding)
        assert not dw.any()
    else:
        y, dx, dw = check(x, w, dy, groups, padding)
        assert y.is_contiguous(memory_format=fmt)
    assert (y.shape, dx.shape, dw.shape) == (dy.shape, x.shape, w.shape)


def test_layouts(lay_out, device, seed):
    x, w, dy, groups, padding = make("groups of 8", torch.float32, device)
    check(lay_out(x), lay_out(w), lay_out(dy), groups, padding)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_every_instruction_set(isa, native, device, seed):
    if isa not in native.supported_isas():
        pytest.skip(f"this processor has no {isa}")
    before = native.active_isa()
    native.limit_isa(isa)
    try:
        for name in SHAPES.keys() - {"no samples"}:
            check(*make(name, torch.float32, device))
    finally:
        native.limit_isa(before)


def test_what_lies_outside_the_map_is_not_read(device, seed):
    """A map between NaNs, of which one would spoil a whole tile."""
    parent = torch.full((3, 32, 9, 9), float("nan"), device=device).contiguous(memory_format=CL)
    x = parent[1:2].copy_(torch.randn(1, 32, 9, 9))
    w, dy = torch.randn(32, 16, 3, 3, device=device), torch.randn(1, 32, 9, 9, device=device)
    check(x, w, dy, 2, (1, 1))


def test_a_nan_stays_in_its_tile_and_group(device):
    x = torch.zeros(1, 32, 16, 16, device=device)
    x[0, 0, 5, 5] = float("nan")
    y = grouped_conv2d(x, torch.ones(32, 16, 3, 3, device=device), 2)
    assert y[:, :16, 4:7, 4:7].isnan().all()
    assert not y[:, 16:].isnan().any()
    assert not y[:, :, 8:, :].isnan().any()
    assert not y[:, :, :, 8:].isnan().any()


@pytest.mark.parametrize("width", LARGEST_ERROR)
def test_the_error_is_as_documented(width, native, device, seed):
    """In units of eps · Σ|x||w| over the 3×3 window, for standard normal maps and weights."""
    x, dy = (torch.randn(1, 64, 16, 16, device=device) for _ in range(2))
    w, groups = torch.randn(64, width, 3, 3, device=device), 64 // width
    got, want = run(x, w, dy, groups, 1), wanted(x, w, dy, groups, 1)
    scale = wanted(x.abs(), w.abs(), dy.abs(), groups, 1)
    found = [float(errors(*t).max()) for t in zip(got, want, scale, strict=True)]
    for value, limit in zip(found, LARGEST_ERROR[width], strict=True):
        assert value <= 1.5 * limit, (found, LARGEST_ERROR[width])


def test_the_weight_op_has_every_derivative(device, seed):
    x = torch.randn(2, 4, 4, 5, dtype=torch.float64, device=device, requires_grad=True)
    dy = torch.randn(2, 6, 4, 5, dtype=torch.float64, device=device, requires_grad=True)
    call = lambda x, dy: WEIGHT(x, dy, 2, 1, 1)  # noqa: E731
    assert torch.autograd.gradcheck(call, (x, dy))
    assert torch.autograd.gradgradcheck(call, (x, dy))


def test_threads_change_no_bit(native, device, seed):
    inputs = [make(name, torch.float32, device) for name in ("parts of tiles", "runs of panels")]
    results, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append([t for i in inputs for t in run(*i)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 3), groups=st.integers(1, 5), ci=st.integers(1, 20), ko=st.integers(1, 20),
    h=st.integers(1, 12), w=st.integers(1, 12), pads=st.tuples(*[st.integers(0, 2)] * 2),
)  # fmt: skip
def test_random_calls(device, n, groups, ci, ko, h, w, pads):
    if h + 2 * pads[0] < 3 or w + 2 * pads[1] < 3:
        return
    torch.manual_seed(n + groups + ci + ko + h + w)
    dy = torch.randn(n, groups * ko, h + 2 * pads[0] - 2, w + 2 * pads[1] - 2, device=device)
    x = torch.randn(n, groups * ci, h, w, device=device)
    check(x, torch.randn(groups * ko, ci, 3, 3, device=device), dy, groups, pads)


X, W = torch.zeros(1, 4, 5, 5), torch.zeros(6, 2, 3, 3)
ERRORS = {
    "padding": (ValueError, r"grouped_conv2d: padding must be 0, 1 or 2.*got 3",
                lambda: grouped_conv2d(X, W, 2, 3)),
    "dtype": (TypeError, r"grouped_conv2d: x and w must both be float32 or float64.*bfloat16",
              lambda: grouped_conv2d(X.bfloat16(), W.bfloat16(), 2)),
    "small": (ValueError, r"grouped_conv2d: x must be \[N, C, H, W\] with padded maps of 3×3",
              lambda: grouped_conv2d(X[:, :, :2], W, 2, 0)),
    "groups": (ValueError, r"grouped_conv2d: groups must be an int that divides the 4.*got 3",
               lambda: grouped_conv2d(X, W, 3)),
    "no channels": (ValueError, r"grouped_conv2d: groups must be an int that divides the 0",
                    lambda: grouped_conv2d(X[:, :0], W, 2)),
    "weight": (ValueError, r"grouped_conv2d: w must be \[K, 2, 3, 3\].*got \(6, 1, 3, 3\)",
               lambda: grouped_conv2d(X, W[:, :1], 2)),
}  # fmt: skip


# --- conv2d, which chooses

LARGE = _Facts((16, 128, 32, 32), (128, 16, 3, 3), (1, 1), (1, 1), 8, (torch.float32,) * 2,
               "cpu", False, "avx2", 1, "auto")  # fmt: skip
REFUSALS = {
    "stride": ({"stride": (2, 2)}, "stride"),
    "kernel": ({"w": (128, 16, 1, 1)}, "3×3"),
    "uneven groups": ({"groups": 7}, "do not fit"),
    "no groups": ({"groups": 0}, "do not fit"),
    "no outputs": ({"w": (0, 16, 3, 3)}, "do not fit"),
}
SLOWER = {
    "depthwise": ({"w": (128, 1, 3, 3), "groups": 128}, "another width"),
    "contiguous": ({"is_channels_last": False}, "channels_last"),
    "few tiles": ({"x": (1, 128, 8, 8)}, "tiles"),
    "tiles outside": ({"x": (16, 128, 9, 9)}, "too far outside"),
    "few channels": ({"x": (1, 32, 28, 28), "w": (32, 16, 3, 3), "groups": 2}, "tiles"),
    "many threads": ({"threads": 100}, "tiles"),
}


@pytest.mark.parametrize("name", REFUSALS | SLOWER)
def test_the_choice_explains_itself(name):
    change, reason = (REFUSALS | SLOWER)[name]
    choice = _choose(LARGE._replace(**change))
    assert (choice.is_winograd, choice.algorithm) == (False, "torch")
    assert reason in choice.reason
    forced = _choose(LARGE._replace(**({"setting": "1"} | change)))
    assert forced.is_winograd == (name in SLOWER)


def test_the_choice_at_large_maps():
    assert _choose(LARGE) == (True, "measured to be faster at these shapes", "grouped_conv2d")


@pytest.mark.parametrize("has_bias", [False, True])
def test_conv2d_is_what_it_says(has_bias, native, device, seed):
    x = torch.randn(2, 64, 16, 16, device=device).contiguous(memory_format=CL).requires_grad_()
    w = torch.randn(64, 16, 3, 3, device=device, requires_grad=True)
    b = torch.randn(64, device=device, requires_grad=True) if has_bias else None
    leaves = [t for t in (x, w, b) if t is not None]

    def call(conv):
        y = conv(x, w, b, padding=1, groups=4)
        return y, *torch.autograd.grad(y.sum(), leaves)

    plain = call(F.conv2d)
    for setting in ("0", "auto", "1"):
        with use_winograd(setting):
            got, choice = call(conv2d), conv2d_choice(x, w, b, padding=1, groups=4)
        if not choice.is_winograd:
            assert all(map(torch.equal, got, plain))
        else:
            assert choice.algorithm == "grouped_conv2d"
            assert got[0].grad_fn.name() != plain[0].grad_fn.name()
            for a, p in zip(got, plain, strict=True):
                torch.testing.assert_close(a, p, rtol=1e-4, atol=1e-3)
    with use_backend("reference"):
        assert all(map(torch.equal, call(conv2d), plain))
    choice = conv2d_choice(x.detach().contiguous(), w, b, padding=1, groups=4)
    assert not choice.is_winograd
    assert "channels_last" in choice.reason or native.active_isa() == "baseline"


def test_compiles_without_a_graph_break(device, seed):
    torch.compiler.reset()
    x = torch.randn(2, 64, 32, 32, device=device).contiguous(memory_format=CL).requires_grad_()
    w = torch.randn(64, 16, 3, 3, device=device, requires_grad=True)
    call = lambda x, w: conv2d(x, w, padding=1, groups=4)  # noqa: E731
    y = torch.compile(call, fullgraph=True, backend="aot_eager")(x, w)
    got = torch.autograd.grad(y.sum(), [x, w])
    want_y = call(x, w)
    torch.testing.assert_close(y, want_y)
    for a, b in zip(got, torch.autograd.grad(want_y.sum(), [x, w]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def of(x, w, padding, first_order=True, **more):
    def call(x, w):
        return grouped_conv2d(x, w, 2, padding)

    return Sample(call if first_order else first_gradient(call), {"x": x, "w": w}, **more)


TINY = (1, 4, 4, 4), (2, 2, 3, 3)
OP_INFO = OpInfo(
    samples={
        "one group of two": of((1, 8, 6, 5), (6, 4, 3, 3), 1),
        "channels_last": of((2, 16, 7, 9), (8, 8, 3, 3), 1, layout="channels_last"),
        "unequal padding": of((1, 14, 5, 6), (4, 7, 3, 3), (2, 0)),
        "no samples": of((0, 8, 6, 5), (6, 4, 3, 3), 1),
    },
    derivatives={
        **{f"padding {padding}": of(*TINY, padding) for padding in [0, 1, 2, (1, 0)]},
        "third order": of((1, 2, 3, 3), (2, 1, 3, 3), 1, first_order=False),
    },
    large={"parts of tiles": of((2, 32, 32, 36), (32, 16, 3, 3), 1, layout="channels_last")},
    errors=ERRORS,
)


@pytest.mark.parametrize("name", ["stride", "padding"])
def test_bools_are_refused_after_equal_numbers_were_taken(name):
    x, w = torch.ones(1, 2, 5, 5), torch.ones(2, 2, 3, 3)
    conv2d(x, w, **{name: (1, 1)})
    for value in ((True, True), (1, True)):
        with pytest.raises(ValueError, match=f"{name} must be an int"):
            conv2d(x, w, **{name: value})
