import math

import numpy as np
import pytest
import torch
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
        assert t.is_contiguous(memory_format=memory_format(x))


def memory_format(x):
    """What an output is documented to take: channels_last where x is dense in it."""
    if x.is_contiguous():
        return torch.contiguous_format
    for dims, fmt in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if x.dim() == dims and x.is_contiguous(memory_format=fmt):
            return fmt
    return torch.contiguous_format


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


def graph_inputs(device, shape=(3, 2, 4)):
    x = torch.randn(shape, dtype=torch.float64, device=device, requires_grad=True)
    b = torch.randn(shape[1], dtype=torch.float64, device=device, requires_grad=True)
    return x, b


@pytest.mark.parametrize("case", CASES)
def test_two_orders_of_derivative(case, device, seed):
    x, b = graph_inputs(device)
    for inputs in ((x, b), (x,)):
        f = lambda *t: bias_act(*t, **CASES[case])  # noqa: E731
        assert torch.autograd.gradcheck(f, inputs)
        assert torch.autograd.gradgradcheck(f, inputs)


@pytest.mark.parametrize("act", ["lrelu", "swish"])
@pytest.mark.parametrize(("shape", "dim"), [((5,), 0), ((1,), -1), ((2, 3), 0), ((2, 1, 3, 2), -1)],
                         ids=str)  # fmt: skip
def test_two_orders_of_derivative_along_any_dim(shape, dim, act, device, seed):
    x = torch.randn(shape, dtype=torch.float64, device=device, requires_grad=True)
    b = torch.randn(shape[dim], dtype=torch.float64, device=device, requires_grad=True)
    f = lambda x, b: bias_act(x, b, dim, act=act)  # noqa: E731
    assert torch.autograd.gradcheck(f, (x, b))
    assert torch.autograd.gradgradcheck(f, (x, b))


@pytest.mark.parametrize("case", ["tanh", "swish clamped", "selu", "lrelu clamped", "linear"])
def test_third_derivative(case, device, seed):
    x, b = graph_inputs(device, (2, 2))

    def second(x, b):
        y = bias_act(x, b, **CASES[case])
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), [x, b], create_graph=True)

    assert torch.autograd.gradcheck(second, (x, b))


@pytest.mark.parametrize("case", ["lrelu", "swish", "lrelu clamped", "negative gain", "linear"])
def test_r1_of_a_small_critic_equals_plain_pytorch(case, device, seed):
    """Weight and bias gradients of ‖∂D/∂x‖², each by name: what a wrong second order spoils."""
    torch.manual_seed(seed)
    x = torch.randn(4, 3, dtype=torch.float64, device=device)
    params = {
        name: torch.randn(shape, dtype=torch.float64, device=device)
        for name, shape in {"w1": (3, 5), "b1": (5,), "w2": (5, 4), "b2": (4,)}.items()
    }

    def penalty_gradients(name):
        leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
        leaf = x.clone().requires_grad_()
        with use_backend(name):
            h = bias_act(leaf @ leaves["w1"], leaves["b1"], **CASES[case])
            out = bias_act(h @ leaves["w2"], leaves["b2"], **CASES[case])
            (g,) = torch.autograd.grad(out.sum(), leaf, create_graph=True)
            loss = g.square().sum() + out.square().sum()
            return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    ours, plain = penalty_gradients("auto"), penalty_gradients("reference")
    for name in params:
        torch.testing.assert_close(ours[name], plain[name], rtol=1e-12, atol=1e-12, msg=name)


SAMPLES = {
    "lrelu": ((2, 3, 4, 5), True, "lrelu", None),
    "lrelu clamped channels_last": ((2, 3, 4, 5), True, "lrelu", 0.7),
    "swish": ((2, 3), True, "swish", None),
    "softplus clamped": ((2, 3, 4), True, "softplus", 0.7),
    "no bias": ((2, 3, 4), False, "tanh", None),
    "empty": ((0, 3, 2), True, "relu", None),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_opcheck(sample, device, seed):
    shape, has_b, act, clamp = SAMPLES[sample]
    x, b, dy = random(shape, torch.float32, device, has_b)
    if "channels_last" in sample:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    args = (x, b if b is None else b.requires_grad_(), 1 if has_b else 0, act, 0.2, 1.5, clamp)
    torch.library.opcheck(torch.ops.fastgan.bias_act.default, args)
    y = bias_act(x, b, args[2], act, 0.2, 1.5, clamp).detach()
    from_y = act in ("linear", "relu", "lrelu")
    saved = (None, None, y) if from_y else (x, b, None)
    backward = torch.ops.fastgan.bias_act_backward.default
    for has_db in {has_b, False}:
        torch.library.opcheck(backward, (dy.requires_grad_(), *saved, *args[2:], has_db))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")
@pytest.mark.parametrize(
    "engine",
    ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("case", ["lrelu clamped", "swish"])
def test_compiles_without_a_graph_break(case, engine, device, seed):
    x, b, dy = random((2, 3, 4, 5), torch.float32, device)
    torch.compiler.reset()
    compiled = torch.compile(bias_act, fullgraph=True, backend=engine)
    leaves = x.requires_grad_(), b.requires_grad_()
    y = compiled(*leaves, **CASES[case])
    grads = torch.autograd.grad(y, leaves, dy)
    want = run(x, b, 1, dy, CASES[case])
    for got, value in zip((y, *grads), want, strict=True):
        torch.testing.assert_close(got, value, rtol=1e-6, atol=1e-6)


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


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("act", ["lrelu", "tanh"])
def test_threads_change_no_bit(act, fmt, backend, device, seed):
    if backend == "reference":
        pytest.skip("plain PyTorch promises no order of summation")
    x, b, dy = random((8, 96, 33, 31), torch.float32, device)
    x = x.contiguous(memory_format=fmt)
    results = []
    threads = torch.get_num_threads()
    for count in (1, 2, 2):
        torch.set_num_threads(count)
        results.append(run(x, b, 1, dy, {"act": act, "clamp": 1.0}))
    torch.set_num_threads(threads)
    for other in results[1:]:
        for a, c in zip(results[0], other, strict=True):
            assert torch.equal(a, c)


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("shape", [(2, 8, 4, 4), (2, 3, 5, 7)], ids=str)
@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_wide_indices_change_no_bit(act, shape, fmt, backend, device, seed, monkeypatch):
    if backend != "emulator":
        pytest.skip("only the emulator can lower the limit of narrow indices")
    x, b, dy = random(shape, torch.bfloat16, device)
    x = x.contiguous(memory_format=fmt)

    def everything():
        """y, dx, db, and the dx of a pass that asks for no db."""
        leaf = x.clone().requires_grad_()
        (alone,) = torch.autograd.grad(bias_act(leaf, b, act=act, clamp=1.0), leaf, dy)
        return *run(x, b, 1, dy, {"act": act, "clamp": 1.0}), alone

    narrow = everything()
    for limit in (x.numel(), x.numel() - 1, 1):
        monkeypatch.setenv("FASTGAN_EMULATOR_NARROW_LIMIT", str(limit))
        for name, a, c in zip(("y", "dx", "db", "dx alone"), narrow, everything(), strict=True):
            assert torch.equal(a, c), f"{name}, limit {limit}"


@pytest.mark.parametrize("shape", [(5, 300, 4, 4), (3, 9, 8, 8), (2, 3, 24, 20)], ids=str)
def test_bias_gradient_of_small_planes(shape, dtype, device, seed):
    """Several planes to a warp, more channels than a block takes, and planes no power of two."""
    x, b, dy = random(shape, dtype, device)
    check_against_oracle(x, b, 1, dy, {"act": "lrelu"})


X = torch.zeros(2, 3)
ERRORS = {
    "act": (ValueError, r"bias_act: act must be one of linear.*got 'gelu'", (X,), {"act": "gelu"}),
    "integer x": (TypeError, r"bias_act: x must be .*int64; cast", (X.long(),), {"act": "relu"}),
    "length of b": (
        ValueError,
        r"bias_act: b must have shape \(3,\) .*x\.shape\[1\], got \(2,\); pass dim=",
        (X, torch.zeros(2)),
        {},
    ),
    "dims of b": (ValueError, r"bias_act: b must have shape", (X, torch.zeros(1, 3)), {}),
    "dim": (ValueError, r"bias_act: dim must be in \[-2, 1\].*got 2", (X, torch.zeros(3), 2), {}),
    "device of b": (
        ValueError,
        r"bias_act: b must be on cpu like x, got meta",
        (X, torch.zeros(3, device="meta")),
        {},
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_argument(name):
    error, message, args, options = ERRORS[name]
    with pytest.raises(error, match=message):
        bias_act(*args, **options)


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
