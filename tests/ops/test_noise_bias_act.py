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

from fastgan.ops import bias_act, noise_bias_act, use_backend

NAMES = ("x", "scale", "noise", "strength", "b")
ALL = frozenset(NAMES)
# Options of the fused path; the slope below 0 and the default gain are spelled out in SLOPES.
CASES = {
    "linear": {"act": "linear"},
    "relu": {"act": "relu"},
    "lrelu": {"act": "lrelu"},
    "linear clamped": {"act": "linear", "gain": 1.5, "clamp": 0.7},
    "relu clamped": {"act": "relu", "clamp": 0.7},
    "lrelu clamped": {"act": "lrelu", "gain": 1.5, "clamp": 0.7},
    "steep alpha": {"act": "lrelu", "alpha": 1.5},
    "zero alpha": {"act": "lrelu", "alpha": 0.0},
    "linear negative gain": {"act": "linear", "gain": -0.5},
    "clamp 0": {"act": "lrelu", "clamp": 0.0},
    "clamp off": {"act": "lrelu", "clamp": -1.0},
}
SLOPES = {"linear": (1.0, 1.0), "relu": (0.0, math.sqrt(2)), "lrelu": (0.2, math.sqrt(2))}
COMPOSED = {
    "swish": {"act": "swish"},
    "tanh clamped": {"act": "tanh", "clamp": 0.7},
    "negative gain clamped": {"act": "lrelu", "gain": -0.5, "clamp": 0.25},
    "negative alpha": {"act": "lrelu", "alpha": -0.3},
}
SUBSETS = {
    "all": ALL,
    "x alone": {"x"},
    "scale": {"x", "scale"},
    "noise": {"x", "noise"},
    "noise strength": {"x", "noise", "strength"},
    "b": {"x", "b"},
    "scale b": {"x", "scale", "b"},
    "noise strength b": {"x", "noise", "strength", "b"},
}
NOISES = {"own": lambda n, *space: (n, 1, *space), "one": lambda n, *space: (1, 1, *space),
          "flat": lambda n, *space: space}  # fmt: skip


def tensors(shape, dtype, device, given_names=ALL, noise="own", parameter_dtype=None):
    """Inputs by name; parameters in float32 (float64 for float64) unless told."""
    parameter_dtype = parameter_dtype or torch.promote_types(dtype, torch.float32)
    n, c, *space = shape
    shapes = {"x": shape, "scale": (n, c), "noise": NOISES[noise](n, *space), "strength": (),
              "b": (c,)}  # fmt: skip
    dtypes = {"x": dtype, "noise": dtype}
    made = {k: torch.randn(shapes[k], device=device).to(dtypes.get(k, parameter_dtype))
            for k in NAMES}  # fmt: skip
    return {k: t for k, t in made.items() if k in given_names}


def run(inputs, dy, options, name="auto"):
    """y and the gradients of all inputs, by name."""
    leaves = {k: t.detach().requires_grad_() for k, t in inputs.items()}
    with use_backend(name):
        y = noise_bias_act(**leaves, **options)
        grads = torch.autograd.grad(y, list(leaves.values()), dy)
    return {"y": y.detach()} | {f"d{k}": g for k, g in zip(leaves, grads, strict=True)}


def oracle(inputs, dy, *, act="linear", alpha=None, gain=None, clamp=None):
    """(values, scales, elements far from a kink) in float64, by the names of `run`."""
    default_alpha, default_gain = SLOPES[act]
    alpha = default_alpha if alpha is None else alpha
    gain = default_gain if gain is None else gain
    is_bounded = clamp is not None and clamp >= 0
    v = {k: numpy64(t) for k, t in inputs.items()}
    x, dy = v["x"], numpy64(dy)
    n, c, *space = x.shape
    ones = [1] * len(space)
    scale = v.get("scale", np.ones((n, c))).reshape(n, c, *ones)
    noise = v.get("noise", np.zeros((n, 1, *space)))
    noise = noise if noise.ndim == x.ndim else noise.reshape(1, 1, *space)
    strength = v.get("strength", np.ones(()))
    b = v.get("b", np.zeros(c)).reshape(c, *ones)
    u = scale * x + strength * noise + b
    size = np.abs(scale * x) + np.abs(strength * noise) + np.abs(b)
    slope = np.where(u > 0, 1.0, alpha) * gain
    raw = u * slope
    y = np.clip(raw, -clamp, clamp) if is_bounded else raw
    du = dy * slope * (np.abs(raw) < clamp if is_bounded else 1)
    margin = 4 * torch.finfo(torch.bfloat16).eps
    is_clear = np.abs(u) > margin * size
    if is_bounded:
        is_clear &= np.abs(np.abs(raw) - clamp) > margin * np.maximum(np.abs(slope) * size, clamp)
    space_axes = tuple(range(2, x.ndim))
    noise_axes = (1,) if noise.shape[0] == n else (0, 1)
    terms = {
        "dx": (scale * du, ()),
        "dscale": (x * du, space_axes),
        "db": (du, (0, *space_axes)),
        "dstrength": (noise * du, tuple(range(x.ndim))),
        "dnoise": (strength * du, noise_axes),
    }
    values, scales, open_sizes = {"y": y}, {"y": np.abs(slope) * size}, {"y": np.zeros_like(y)}
    for k, (term, axes) in terms.items():
        if k[1:] not in v:
            continue
        # Near a kink 16 bits may take the other slope: that much of a sum is open.
        jump = np.where(is_clear, 0, np.abs(dy) * abs(gain) * (1 + abs(alpha)) * (1 + np.abs(x)))
        jump = jump * (1 + np.abs(noise)) * (1 + np.abs(strength)) * (1 + np.abs(scale))
        reduced = (term.sum(axes), np.abs(term).sum(axes), jump.sum(axes))
        shape = tuple(inputs[k[1:]].shape)
        values[k], scales[k], open_sizes[k] = (a.reshape(shape) for a in reduced)
    return values, scales, open_sizes


def check_against_oracle(inputs, dy, options):
    got, plain = run(inputs, dy, options), run(inputs, dy, options, "reference")
    values, scales, open_sizes = oracle(inputs, dy, **options)
    is_exact = inputs["x"].dtype in (torch.float32, torch.float64)
    assert set(got) == set(values)
    for k, t in got.items():
        slack = 0 if is_exact else open_sizes[k] / torch.finfo(t.dtype).eps
        assert_accurate(t, values[k], scales[k] + slack, plain=plain[k], what=k,
                        or_twice_plain=k != "y" and inputs["x"].numel() > 1000)  # fmt: skip
        assert t.dtype == inputs[k[1:] if k != "y" else "x"].dtype, k
    return got


def gradient_like(inputs):
    return torch.randn_like(inputs["x"].float()).to(inputs["x"].dtype)


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case, dtype, device, seed):
    inputs = tensors((3, 7, 5, 9), dtype, device)
    check_against_oracle(inputs, gradient_like(inputs), CASES[case])


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("given_names", SUBSETS.values(), ids=SUBSETS)
def test_any_parameter_may_be_absent(given_names, noise, fmt, device, seed):
    inputs = tensors((2, 8, 3, 4), torch.float32, device, given_names, noise)
    inputs["x"] = inputs["x"].contiguous(memory_format=fmt)
    check_against_oracle(inputs, gradient_like(inputs), {"act": "lrelu", "clamp": 1.5})


SHAPES = [(1, 1), (7, 63), (3, 64, 1), (2, 7, 5, 9), (2, 16, 4, 4), (3, 33, 3, 3), (1, 3, 2, 5, 7)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_and_layouts(shape, lay_out, dtype, device, seed):
    inputs = tensors(shape, dtype, device)
    dy = lay_out(gradient_like(inputs))
    inputs = {k: t if t.dim() == 0 else lay_out(t) for k, t in inputs.items()}
    got = check_against_oracle(inputs, dy, {"act": "lrelu", "clamp": 1.5})
    for k in ("y", "dx"):
        assert got[k].is_contiguous(memory_format=dense_format(inputs["x"]))


def test_gradient_in_another_layout_than_x(lay_out, device, seed):
    inputs = tensors((2, 8, 4, 3), torch.float32, device)
    dy = lay_out(gradient_like(inputs))
    inputs["x"] = inputs["x"].contiguous(memory_format=torch.channels_last)
    check_against_oracle(inputs, dy, {"act": "relu"})


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(
    "shape", [(1, 2, 64, 128), (1, 2, 90, 91), (1, 8, 40, 50), (2, 520, 5, 3), (3, 40, 7, 31)],
    ids=str,
)  # fmt: skip
def test_sums_over_several_blocks(shape, fmt, device, seed):
    inputs = tensors(shape, torch.float32, device)
    inputs["x"] = inputs["x"].contiguous(memory_format=fmt)
    check_against_oracle(inputs, gradient_like(inputs), {"act": "lrelu"})
    nothing_cancels = {k: t.abs() for k, t in inputs.items()}
    check_against_oracle(nothing_cancels, gradient_like(inputs).abs(), {"act": "relu"})


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 3, 0), (0, 0, 4, 4)], ids=str)
def test_empty(shape, dtype, device):
    inputs = tensors(shape, dtype, device)
    got = run(inputs, inputs["x"], {"act": "lrelu"})
    for k, t in got.items():
        assert torch.equal(t, torch.zeros_like(inputs["x" if k == "y" else k[1:]])), k


@pytest.mark.parametrize("case", COMPOSED)
def test_other_activations_end_in_bias_act(case, device, seed):
    inputs = tensors((2, 3, 4, 5), torch.float64, device)
    dy, options = gradient_like(inputs), COMPOSED[case]
    got = run(inputs, dy, options)
    u = noise_bias_act(**inputs)
    torch.testing.assert_close(got["y"], bias_act(u, **options), rtol=0, atol=0)
    want = run(inputs, dy, options, "reference")
    for k, t in got.items():
        torch.testing.assert_close(t, want[k], rtol=1e-12, atol=1e-12, msg=k)


@pytest.mark.parametrize("parameter_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_sixteen_bits_are_rounded_once(parameter_dtype, device, seed):
    """y is the float32 result, rounded; every gradient comes in its own input's dtype."""
    inputs = tensors((2, 8, 4, 4), torch.bfloat16, device, parameter_dtype=parameter_dtype)
    wide = {k: t.float() for k, t in inputs.items()}
    y = noise_bias_act(**inputs, act="lrelu")
    assert torch.equal(y, noise_bias_act(**wide, act="lrelu").bfloat16())
    got = run(inputs, gradient_like(inputs), {"act": "lrelu"})
    for k in inputs:
        assert got[f"d{k}"].dtype == inputs[k].dtype, k
        assert got[f"d{k}"].shape == inputs[k].shape, k


def test_nothing_to_do_returns_x(device):
    x = torch.randn(2, 3, device=device)
    assert noise_bias_act(x) is x
    assert noise_bias_act(x, gain=2.0) is not x
    assert noise_bias_act(x, b=torch.zeros(3, device=device)) is not x


def test_infinite_and_nan_inputs_are_those_of_torch(device):
    x = torch.tensor([[float("-inf"), float("inf"), float("nan"), -1.0, 0.0]], device=device)
    b = torch.zeros(5, device=device)
    for act, expected in (("relu", x.relu()), ("lrelu", torch.nn.functional.leaky_relu(x, 0.2))):
        y = noise_bias_act(x, b=b, act=act, gain=1.0)
        torch.testing.assert_close(y, expected, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_no_gradient_where_clamped(dtype, device):
    """bfloat16(0.7) < 0.7 < float16(0.7): a bound that is not rounded as y is lets some through."""
    x = torch.linspace(-4, 4, 81, device=device).to(dtype)[None]
    got = run({"x": x}, torch.ones_like(x), {"act": "lrelu", "gain": 1.5, "clamp": 0.7})
    v = 1.5 * np.where(numpy64(x) > 0, numpy64(x), 0.2 * numpy64(x))
    is_out = torch.from_numpy(np.abs(v) > 0.72).to(device)
    is_in = torch.from_numpy(np.abs(v) < 0.68).to(device)
    assert is_out.sum() > 10
    assert (got["dx"][is_out] == 0).all()
    assert (got["dx"][is_in] != 0).all()


def test_absent_inputs_do_not_hide_a_wanted_gradient(device, seed):
    """The engine numbers only the tensors that were given: with scale absent, all shift."""
    inputs = {
        k: t.requires_grad_() * 1 for k, t in tensors((2, 3, 2), torch.float64, device).items()
    }
    del inputs["scale"]
    y = noise_bias_act(**inputs, act="lrelu")
    for name in ("noise", "strength", "b"):
        (grad,) = torch.autograd.grad(y.sum(), inputs[name], retain_graph=True)
        assert grad.abs().sum() > 0, name


def test_autocast_keeps_parameters_in_float32(device, seed):
    x = torch.randn(4, 3, device=device)
    w = torch.randn(5, 3, device=device, requires_grad=True)
    b = torch.randn(5, device=device, requires_grad=True)
    with torch.autocast(device.type, torch.bfloat16):
        y = noise_bias_act(x @ w.t(), b=b, act="lrelu")
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert w.grad.dtype == b.grad.dtype == torch.float32


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(0, 9), min_size=2, max_size=5),
    given_names=st.sampled_from([frozenset(s) for s in SUBSETS.values()]),
    noise=st.sampled_from(sorted(NOISES)),
    act=st.sampled_from(sorted(SLOPES)),
    gain=st.floats(0.125, 2, width=32),
    clamp=st.none() | st.floats(0.125, 3, width=32),
)
def test_random_calls(device, shape, given_names, noise, act, gain, clamp):
    torch.manual_seed(len(shape))
    inputs = tensors(tuple(shape), torch.float64, device, given_names, noise)
    check_against_oracle(inputs, gradient_like(inputs), {"act": act, "gain": gain, "clamp": clamp})


def of(shape, options, given_names=ALL, noise="own", **more):
    n, c, *space = shape
    shapes = {"x": shape, "scale": (n, c), "noise": NOISES[noise](n, *space), "strength": (),
              "b": (c,)}  # fmt: skip
    shapes = {k: v for k, v in shapes.items() if k in given_names}
    names = list(shapes)

    def call(*tensors):
        return noise_bias_act(**dict(zip(names, tensors, strict=True)), **options)

    return Sample(call, shapes, wide=("scale", "strength", "b"), **more)


X, CLAMPED, TINY = torch.zeros(2, 3, 4), {"act": "lrelu", "clamp": 1.5}, (2, 3, 2, 1)
OP_INFO = OpInfo(
    samples={
        "all": of((2, 3, 4, 5), CLAMPED),
        "channels_last": of((2, 8, 4, 4), CLAMPED, layout="channels_last"),
        "ragged channels_last": of((2, 3, 5, 7), CLAMPED, layout="channels_last"),
        "16 bits": of((2, 8, 4), CLAMPED, dtype=torch.bfloat16),
        "linear": of((2, 3, 4), {"gain": 1.5}),
        "swish": of((2, 3, 4, 5), {"act": "swish"}),
        "x alone": of((2, 3, 4), {"act": "lrelu"}, {"x"}),
        "noise alone": of((2, 3), {"act": "relu"}, {"x", "noise"}),
        "noise for all": of((2, 8, 4), CLAMPED, noise="flat"),
        "empty": of((0, 3, 2), {"act": "lrelu"}),
    },
    derivatives={
        **{case: of(TINY, options) for case, options in (CASES | COMPOSED).items()},
        **{f"{subset}, {noise} noise": of(TINY, CLAMPED, names, noise)
           for subset, names in SUBSETS.items() for noise in NOISES},
        **{f"third order of {case}": Sample(first_gradient(of((2, 2, 2), options).call),
                                            of((2, 2, 2), options).shapes)
           for case, options in (CASES | COMPOSED).items()
           if case in ("lrelu clamped", "linear", "swish")},
    },
    large={layout: of((3, 40, 17, 16), CLAMPED, layout=layout)
           for layout in ("contiguous", "channels_last")},
    errors={
        name: (error, f"noise_bias_act: {message}", functools.partial(noise_bias_act, *args))
        for name, error, message, args in (
            ("act", ValueError, r"act must be one of linear.*got 'gelu'", (X, *[None] * 4, "gelu")),
            ("integer x", TypeError, r"x must be .*int64; cast", (X.long(),)),
            ("dims of x", ValueError, r"x must be \[N, C, \.\.\.\], got shape \(4,\)", (X[0, 0],)),
            ("scale", ValueError, r"scale must have shape \(2, 3\).*got \(3,\)", (X, X[0, :, 0])),
            ("noise", ValueError,
             r"noise must have shape \(2, 1, 4\) or \(1, 1, 4\) or \(4,\).*got \(2, 3, 4\)",
             (X, None, X)),
            ("strength", ValueError, r"strength must have shape \(\)",
             (X, None, X[0, 0], X[0, 0])),
            ("strength alone", ValueError, r"strength is given and noise is not; pass noise=",
             (X, None, None, X.sum())),
            ("b", ValueError, r"b must have shape \(3,\).*got \(2,\)",
             (X, None, None, None, torch.zeros(2))),
            ("device", ValueError, r"b must be on cpu like x, got meta; move it",
             (X, None, None, None, torch.zeros(3, device="meta"))),
        )
    },
)  # fmt: skip
