# SPDX-License-Identifier: Apache-2.0
import functools
import math

import numpy as np
import pytest
import torch
from _op_info import OpInfo, Sample, dense_format, first_gradient
from _tolerances import assert_accurate, numpy64
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.ops import bias_act, use_backend


def sigmoid(u):
    return np.exp(-np.logaddexp(0, -u))


# act: (value, slope at u, default alpha, default gain), from the definitions, not from fastgan.
ACTS = {
    "linear": (lambda u, a: u, lambda u, a: np.ones_like(u), None, 1),
    "relu": (lambda u, a: np.maximum(u, 0), lambda u, a: 1.0 * (u > 0), None, math.sqrt(2)),
    "lrelu": (
        lambda u, a: np.where(u > 0, u, a * u),
        lambda u, a: np.where(u > 0, 1, a),
        0.2,
        math.sqrt(2),
    ),
    "tanh": (lambda u, a: np.tanh(u), lambda u, a: 1 - np.tanh(u) ** 2, None, 1),
    "sigmoid": (
        lambda u, a: sigmoid(u),
        lambda u, a: sigmoid(u) * sigmoid(-u),
        None,
        1,
    ),
    "elu": (
        lambda u, a: np.where(u > 0, u, np.expm1(np.minimum(u, 0))),
        lambda u, a: np.exp(np.minimum(u, 0)),
        None,
        1,
    ),
    "selu": (
        lambda u, a: (
            1.0507009873554805 * np.where(u > 0, u, 1.6732632423543772 * np.expm1(np.minimum(u, 0)))
        ),
        lambda u, a: (
            1.0507009873554805 * np.where(u > 0, 1, 1.6732632423543772 * np.exp(np.minimum(u, 0)))
        ),
        None,
        1,
    ),
    "softplus": (lambda u, a: np.logaddexp(0, u), lambda u, a: sigmoid(u), None, 1),
    "swish": (
        lambda u, a: u * sigmoid(u),
        lambda u, a: sigmoid(u) + u * sigmoid(u) * sigmoid(-u),
        None,
        math.sqrt(2),
    ),
}
PIECEWISE_LINEAR = ("linear", "relu", "lrelu")
STEEPEST = 1.7581  # selu's slope at -0; no default activation is steeper
# name: options. Beyond the defaults: every branch of what backward saves.
CASES = {
    **{act: {"act": act} for act in ACTS},
    **{f"{act} clamped": {"act": act, "clamp": 0.7, "gain": 1.5} for act in ACTS},
    "negative gain": {"act": "lrelu", "gain": -0.5},
    "negative gain clamped": {"act": "lrelu", "gain": -0.5, "clamp": 0.25},
    "negative alpha": {"act": "lrelu", "alpha": -0.3},
    "negative alpha clamped": {"act": "lrelu", "alpha": -0.3, "clamp": 0.3},
    "zero alpha": {"act": "lrelu", "alpha": 0.0},
    "steep alpha": {"act": "lrelu", "alpha": 1.5},
    "zero gain": {"act": "lrelu", "gain": 0.0},
    "linear gain": {"act": "linear", "gain": 0.3},
    "clamp 0": {"act": "lrelu", "clamp": 0.0},
    "clamp off": {"act": "lrelu", "clamp": -1.0},
}
SHAPES = [(1, 1), (7, 63), (3, 64, 1), (2, 7, 5, 9), (2, 16, 3, 3), (1, 3, 2, 5, 7)]


def along(b, x, dim):
    return b.reshape([-1 if i == dim % x.ndim else 1 for i in range(x.ndim)])


def oracle(x, b, dim, dy, *, act="linear", alpha=None, gain=None, clamp=None):
    """(y, dx, scale of y, scale of dx, elements far from a kink) in float64."""
    value, slope, default_alpha, default_gain = ACTS[act]
    alpha = default_alpha if alpha is None else alpha
    gain = default_gain if gain is None else gain
    x, dy = numpy64(x), numpy64(dy)
    b = np.zeros(x.shape[dim]) if b is None else numpy64(b)
    u = x + along(b, x, dim)
    size = np.abs(x) + np.abs(along(b, x, dim))
    v = gain * value(u, alpha)
    is_bounded = clamp is not None and clamp >= 0
    y = np.clip(v, -clamp, clamp) if is_bounded else v
    steepest = max(STEEPEST, abs(alpha or 0))
    y_scale = abs(gain) * (np.abs(value(u, alpha)) + steepest * size)
    dx = dy * gain * slope(u, alpha) * (np.abs(v) < clamp if is_bounded else 1)
    if act in PIECEWISE_LINEAR:  # rounding u does not move the slope
        dx_scale = np.abs(dy * gain * slope(u, alpha))
    else:
        dx_scale = np.abs(dy) * abs(gain) * steepest * (1 + size)
    margin = 4 * torch.finfo(torch.bfloat16).eps
    is_clear = np.abs(u) > margin * size
    if is_bounded:
        is_clear &= np.abs(np.abs(v) - clamp) > margin * np.maximum(y_scale, clamp)
    return y, dx, y_scale, dx_scale, is_clear


def run(x, b, dim, dy, options, name="auto"):
    """y, dx, db of bias_act."""
    x = x.detach().requires_grad_()
    b = None if b is None else b.detach().requires_grad_()
    with use_backend(name):
        y = bias_act(x, b, dim, **options)
        grads = torch.autograd.grad(y, [x] if b is None else [x, b], dy)
    return y.detach(), grads[0], None if b is None else grads[1]


def check_against_oracle(x, b, dim, dy, options):
    y, dx, db = run(x, b, dim, dy, options)
    plain_y, plain_dx, plain_db = run(x, b, dim, dy, options, "reference")
    want_y, want_dx, y_scale, dx_scale, is_clear = oracle(x, b, dim, dy, **options)
    exact = x.dtype in (torch.float64, torch.float32)
    where = np.ones_like(is_clear) if exact else is_clear
    assert_accurate(y, want_y, y_scale, plain=plain_y)
    assert_accurate(dx, want_dx, dx_scale, plain=plain_dx, where=where, what="dx")
    if db is not None:
        axes = tuple(i for i in range(x.dim()) if i != dim % x.dim())
        # Near a kink 16-bit rounding may take the other slope: that much of the sum is open.
        jump = np.abs(numpy64(dy)) * 4 / torch.finfo(x.dtype).eps
        scale = dx_scale.sum(axes) + np.where(where, 0, jump).sum(axes)
        assert_accurate(db, want_dx.sum(axes), scale, plain=plain_db, what="db",
                        or_twice_plain=x.numel() > 1000 * len(b))  # fmt: skip
    assert y.dtype == dx.dtype == x.dtype
    return y, dx, db


def random(shape, dtype, device, has_b=True, dim=1):
    x = torch.randn(shape, device=device).to(dtype)
    b = torch.randn(shape[dim], device=device).to(dtype) if has_b else None
    return x, b, torch.randn(shape, device=device).to(dtype)


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case, dtype, device, seed):
    x, b, dy = random((3, 7, 5, 9), dtype, device)
    check_against_oracle(x, b, 1, dy, CASES[case])


@pytest.mark.parametrize("has_b", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_and_layouts(shape, has_b, lay_out, dtype, device, seed):
    x, b, dy = random(shape, dtype, device, has_b)
    x, dy = lay_out(x), lay_out(dy)
    y, dx, _ = check_against_oracle(x, b, 1, dy, {"act": "lrelu", "clamp": 1.5})
    for t in (y, dx):
        assert t.is_contiguous(memory_format=dense_format(x))


@pytest.mark.parametrize("act", ["lrelu", "swish"])
@pytest.mark.parametrize("dim", [0, 1, 2, 3, -1, -4])
def test_bias_runs_along_dim(dim, act, lay_out, device, seed):
    x, b, dy = random((4, 3, 5, 7), torch.float32, device, dim=dim)
    check_against_oracle(lay_out(x), b, dim, dy, {"act": act})


def test_gradient_in_another_layout_than_x(lay_out, device, seed):
    x, b, dy = random((2, 5, 4, 3), torch.float32, device)
    x = x.contiguous(memory_format=torch.channels_last)
    check_against_oracle(x, b, 1, lay_out(dy), {"act": "swish"})


@pytest.mark.parametrize(
    "shape", [(33, 520, 31), (3, 2, 8193), (5000, 9), (2, 9000), (2, 3, 90000)], ids=str
)
def test_bias_gradient_over_several_slices(shape, device, seed):
    x, b, dy = random(shape, torch.float32, device)
    check_against_oracle(x, b, 1, dy, {"act": "lrelu"})
    check_against_oracle(x, b, 1, dy.abs(), {"act": "relu"})  # nothing cancels


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 3, 0), (0, 0, 4, 4)], ids=str)
@pytest.mark.parametrize("act", ["linear", "lrelu", "tanh"])
def test_empty(shape, act, dtype, device):
    x, b, dy = random(shape, dtype, device)
    y, dx, db = run(x, b, 1, dy, {"act": act, "gain": 2.0})
    assert y.shape == dx.shape == x.shape
    assert torch.equal(db, torch.zeros_like(b))


def test_scalar_without_bias(device):
    x = torch.tensor(-2.0, device=device)
    assert bias_act(x, act="lrelu").item() == pytest.approx(-0.4 * math.sqrt(2))


@pytest.mark.parametrize("act", ACTS)
def test_defaults(act, device):
    x = torch.linspace(-3, 3, 13, dtype=torch.float64, device=device)[:, None]
    b = torch.zeros(1, dtype=torch.float64, device=device)
    _, _, alpha, gain = ACTS[act]
    spelled = {"gain": gain} if alpha is None else {"gain": gain, "alpha": alpha}
    assert torch.equal(bias_act(x, b, act=act), bias_act(x, b, act=act, **spelled))
    assert torch.equal(bias_act(x, b, act=act), bias_act(x, b, act=act, clamp=-1))


def test_nothing_to_do_returns_x(device):
    x = torch.randn(2, 3, device=device)
    assert bias_act(x) is x
    assert bias_act(x, gain=2.0) is not x


def test_clamp_comes_after_gain(device):
    x = torch.tensor([[2.0, -2.0]], device=device)
    assert bias_act(x, gain=3.0, clamp=1.0).tolist() == [[1.0, -1.0]]


@pytest.mark.parametrize("act", ["linear", "relu", "lrelu", "tanh", "swish"])
@pytest.mark.parametrize("gain", [1.5, -1.5])
def test_no_gradient_where_clamped(act, gain, dtype, device):
    """bfloat16(0.7) < 0.7 < float16(0.7): a bound that is not rounded as y is lets some through."""
    x = torch.linspace(-4, 4, 81, device=device).to(dtype)[None]
    b = torch.zeros(81, dtype=dtype, device=device)
    options = {"act": act, "gain": gain, "clamp": 0.7}
    y, dx, _ = run(x, b, 1, torch.ones_like(x), options)
    at_bound = y.abs() == y.new_full((), 0.7)
    u, (value, slope, _, _) = numpy64(x), ACTS[act]
    v = gain * value(u, 0.2)
    is_out = torch.from_numpy(np.abs(v) > 0.72).to(device)
    is_in = torch.from_numpy((np.abs(v) < 0.68) & (slope(u, 0.2) != 0)).to(device)
    assert is_out.sum() > 10
    assert at_bound[is_out].all()
    assert (dx[is_out] == 0).all()
    assert (dx[is_in] != 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_every_16_bit_number_rounds_to_nearest(dtype, device):
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    x = bits.view(dtype).to(device)[:, None]
    same = bias_act(x, torch.zeros(1, device=device))
    is_nan = x.isnan()
    assert torch.equal(same.isnan(), is_nan)
    assert torch.equal(same[~is_nan], x[~is_nan])
    gain = 0.7001953125
    if device.type == "cpu" and not _is_native():
        pytest.skip("plain PyTorch rounds before the gain; only the fused kernel rounds once")
    y = bias_act(x, act="linear", gain=gain)
    want = (x.float() * gain).to(dtype)
    assert torch.equal(y[~is_nan], want[~is_nan])


def _is_native():
    from fastgan.ops import backends

    return backends()["bias_act"]["cpu"]["active"] == "cpu"


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_far_values_are_finite_and_nan_stays(act, dtype, device):
    x = torch.tensor([[1e4, -1e4, 88.0, -89.0, 0.0, -0.0, math.nan]], dtype=dtype, device=device)
    y, dx, _ = run(x, torch.zeros(7, dtype=dtype, device=device), 1, torch.ones_like(x),
                   {"act": act})  # fmt: skip
    assert y[0, :6].isfinite().all()
    assert dx[0, :6].isfinite().all()
    assert y[0, 6].isnan()


@pytest.mark.parametrize("act", ACTS)
def test_accuracy_over_the_whole_range(act, device):
    """float32 within 4 units in the last place of the value itself, subnormals aside."""
    small = torch.logspace(-37, 2, 4000)
    x = torch.cat([torch.linspace(-110, 110, 40001), small, -small])[:, None].to(device)
    b, dy = torch.zeros(1, device=device), torch.ones_like(x)
    y = run(x, b, 1, dy, {"act": act, "gain": 1.0})[0]
    plain = run(x, b, 1, dy, {"act": act, "gain": 1.0}, "reference")[0]
    want = ACTS[act][0](numpy64(x), 0.2)
    assert_accurate(y, want, 2 * np.abs(want), plain=plain, or_twice_plain=True)


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("has_b", [True, False], ids=["bias", "no-bias"])
def test_a_nan_gradient_is_never_hidden(act, has_b, device):
    """A kernel that answers 0 for a NaN freezes training in silence instead of stopping it."""
    x = torch.tensor([[math.nan, 1.0, -1.0]], device=device)
    dy = torch.tensor([[math.nan, math.nan, math.nan]], device=device)
    _, dx, _ = run(x, torch.zeros(3, device=device) if has_b else None, 1, dy,
                   {"act": act, "gain": 1.5})  # fmt: skip
    want = run(x, None, 1, dy, {"act": act, "gain": 1.5}, "reference")[1]
    assert dx[want.isnan()].isnan().all()


def test_infinite_values_as_in_plain_pytorch(device):
    x = torch.tensor([[math.inf, -math.inf, 1.0]], device=device)
    for act in ("linear", "lrelu"):
        options = {"act": act, "gain": 1.5}
        y, dx, _ = run(x, None, 1, torch.ones_like(x), options)
        plain_y, plain_dx, _ = run(x, None, 1, torch.ones_like(x), options, "reference")
        assert torch.equal(y, plain_y), act
        assert torch.equal(dx, plain_dx), act


def test_autocast_casts_the_bias_to_x(device, seed):
    x = torch.randn(4, 3, device=device)
    w = torch.randn(5, 3, device=device, requires_grad=True)
    b = torch.randn(5, device=device, requires_grad=True)
    with torch.autocast(device.type, torch.bfloat16):
        y = bias_act(x @ w.t(), b, act="lrelu")
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert w.grad.dtype == b.grad.dtype == torch.float32
    with torch.autocast(device.type, torch.bfloat16):
        assert bias_act(x, torch.zeros(3, device=device), act="swish").dtype == torch.float32


@pytest.mark.parametrize("shape", [(5, 300, 4, 4), (3, 9, 8, 8), (2, 3, 24, 20)], ids=str)
def test_bias_gradient_of_small_planes(shape, dtype, device, seed):
    """Several planes to a warp, more channels than a block takes, and planes no power of two."""
    x, b, dy = random(shape, dtype, device)
    check_against_oracle(x, b, 1, dy, {"act": "lrelu"})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    act=st.sampled_from(sorted(ACTS)),
    gain=st.floats(-2, 2, width=32),
    clamp=st.none() | st.floats(0.125, 3, width=32),
    data=st.data(),
)
def test_random_calls(device, shape, act, gain, clamp, data):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    torch.manual_seed(len(shape))
    x, b, dy = random(shape, torch.float64, device, data.draw(st.booleans()), dim)
    check_against_oracle(x, b, dim, dy, {"act": act, "gain": gain, "clamp": clamp})


def test_infinite_and_nan_inputs_are_those_of_torch(device):
    x = torch.tensor([float("-inf"), float("inf"), float("nan"), -1.0, 0.0], device=device)
    for act, expected in (("relu", x.relu()), ("lrelu", torch.nn.functional.leaky_relu(x, 0.2))):
        y = bias_act(x, act=act, gain=1.0)
        torch.testing.assert_close(y, expected, equal_nan=True)


def of(shape, options, dim=1, **more):
    call = functools.partial(bias_act, dim=dim, **options)
    return Sample(call, {"x": shape, "b": (shape[dim],)}, **more)


def without_bias(shape, options):
    return Sample(lambda x: bias_act(x, **options), {"x": shape})


X = torch.zeros(2, 3)
CLAMPED = {"act": "lrelu", "clamp": 0.7, "gain": 1.5}
ANY_DIM = [((5,), 0), ((1,), -1), ((2, 3), 0), ((2, 1, 3, 2), -1)]
OP_INFO = OpInfo(
    samples={
        "lrelu": of((2, 3, 4, 5), {"act": "lrelu"}),
        "lrelu clamped channels_last": of((2, 8, 4, 4), CLAMPED, layout="channels_last"),
        "ragged channels_last": of((2, 3, 5, 7), {"act": "swish"}, layout="channels_last"),
        "swish": of((2, 3), {"act": "swish"}),
        "softplus clamped": of((2, 3, 4), {"act": "softplus", "clamp": 0.7}),
        "negative gain": of((2, 8, 4), {"act": "lrelu", "gain": -0.5, "clamp": 0.25}),
        "linear": of((2, 8, 4, 4), {"act": "linear", "gain": 0.3}),
        "16 bits": of((2, 8, 4), CLAMPED, dtype=torch.bfloat16),
        "along dim 0": of((4, 3, 2), {"act": "swish"}, 0),
        "no bias": without_bias((2, 3, 4), {"act": "tanh"}),
        "empty": of((0, 3, 2), {"act": "relu"}),
    },
    derivatives={
        **{case: of((3, 2, 4), options) for case, options in CASES.items()},
        **{f"{case} alone": without_bias((3, 2, 4), options) for case, options in CASES.items()},
        **{f"{act} {shape} along {dim}": of(shape, {"act": act}, dim)
           for act in ("lrelu", "swish") for shape, dim in ANY_DIM},
        **{f"third order of {case}": Sample(
            first_gradient(functools.partial(bias_act, **CASES[case])), {"x": (2, 2), "b": (2,)})
           for case in ("tanh", "swish clamped", "selu", "lrelu clamped", "linear")},
    },
    large={
        f"{act} {layout}": of((4, 96, 33, 31), {"act": act, "clamp": 1.0}, layout=layout)
        for act in ("lrelu", "tanh") for layout in ("contiguous", "channels_last")
    },
    errors={
        "act": (ValueError, r"bias_act: act must be one of linear.*got 'gelu'",
                lambda: bias_act(X, act="gelu")),
        "integer x": (TypeError, r"bias_act: x must be .*int64; cast",
                      lambda: bias_act(X.long(), act="relu")),
        "length of b": (
            ValueError,
            r"bias_act: b must have shape \(3,\) .*x\.shape\[1\], got \(2,\); pass dim=",
            lambda: bias_act(X, torch.zeros(2))),
        "dims of b": (ValueError, r"bias_act: b must have shape",
                      lambda: bias_act(X, torch.zeros(1, 3))),
        "dim": (ValueError, r"bias_act: dim must be an int in \[-2, 1\].*got 2",
                lambda: bias_act(X, torch.zeros(3), 2)),
        "device of b": (ValueError, r"bias_act: b must be on cpu like x, got meta",
                        lambda: bias_act(X, torch.zeros(3, device="meta"))),
    },
)  # fmt: skip
