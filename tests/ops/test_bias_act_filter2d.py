# SPDX-License-Identifier: Apache-2.0
"""bias_act_filter2d against bias_act and upfirdn2d one after the other.

The tests call the op of one pass wherever the tensors are: the public function takes it on a GPU
alone.
"""

import pytest
import torch
from _op_info import OpInfo, Sample

from fastgan.ops import bias_act, bias_act_filter2d, setup_filter, upfirdn2d
from fastgan.ops.bias_act_filter2d import in_one_pass, is_one_pass

SKEW = torch.tensor([[1.0, -2, 3, 0.5], [0, 1, 2, -1], [2, 0.25, -3, 1], [1, 1, 0, 4]]) / 4
BLUR = setup_filter([1, 3, 3, 1])
OPTIONS = {"alpha": 0.3, "gain": 1.5, "clamp": 1.25}


def one_pass(x, b=None, f=SKEW, x1=2, y1=2, alpha=0.3, gain=1.5, clamp=1.25):
    taps = f.to(x.device, torch.promote_types(x.dtype, torch.float32))
    return in_one_pass(x, b, taps, x1, y1, alpha, gain, clamp)


def two_ops(x, b=None, f=SKEW, x1=2, y1=2, alpha=0.3, gain=1.5, clamp=1.25):
    w = bias_act(x, b, act="lrelu", alpha=alpha, gain=gain, clamp=clamp)
    return upfirdn2d(w, f.to(x.device), padding=[2, x1, 2, y1])


def maps(device, dtype, *shape):
    """Eighths, which 16 bits hold, too: no rounding of x + b moves one across a kink."""
    x = (8 * torch.randn(shape, device=device)).round().to(dtype) / 8
    return x.contiguous(memory_format=torch.channels_last)


CALLS = {
    "as StyleGAN2": ((2, 16, 8, 8), {"f": BLUR, "alpha": 0.2, "gain": 2**0.5, "clamp": None}),
    "clamp": ((1, 8, 7, 5), {}),
    "odd padding": ((1, 24, 6, 9), {"x1": 3, "y1": 1}),
    "more padding": ((1, 8, 3, 2), {"x1": 5, "y1": 6}),
    "columns": ((1, 8, 2, 41), {"f": BLUR}),
    "strips": ((3, 136, 37, 3), {"y1": 1, "x1": 1}),
    "alpha 1": ((1, 8, 5, 5), {"alpha": 1.0, "clamp": None}),
}


@pytest.mark.parametrize("case", CALLS)
def test_equals_the_two_ops(case, device, dtype, seed):
    """With its gradients and their gradient, to within the roundings of maps that are not there."""
    shape, options = CALLS[case]
    x = maps(device, dtype, *shape).requires_grad_()
    b = maps(device, dtype, 1, shape[1], 1, 1).flatten().requires_grad_()
    pads = (2, options.get("x1", 2), 2, options.get("y1", 2))
    assert is_one_pass(x, SKEW, pads, "lrelu", options.get("alpha", 0.3), 1.5)
    results = []
    for call in (one_pass, two_ops):
        y = call(x, b, **options)
        torch.manual_seed(1)
        dy, g, g_db = torch.randn_like(y), torch.randn_like(x), torch.randn_like(b)
        dy.requires_grad_()
        dx, db = torch.autograd.grad(y, (x, b), dy, create_graph=True)
        of_dx = torch.autograd.grad(dx, dy, g, retain_graph=True)[0]
        of_both = torch.autograd.grad((dx, db), dy, (g, g_db))[0]
        results.append({"y": y, "dx": dx, "db": db, "of dx": of_dx, "of both": of_both})
    assert results[0]["y"].is_contiguous(memory_format=torch.channels_last)
    eps = torch.finfo(dtype).eps
    for name, want in results[1].items():
        size = want.detach().abs().max().item() * (x.numel() / shape[1]) ** (name == "db")
        torch.testing.assert_close(
            results[0][name], want, rtol=0, atol=2 * eps * (1 + size), msg=name
        )


def test_no_bias_and_extremes(device):
    """Infinities and NaN, which a filter of one tap leaves where they are."""
    f = torch.zeros(4, 4)
    f[2, 2] = 1
    given = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.5, 0.5, -9, 9])
    x = given.expand(1, 1, 2, 8).permute(0, 3, 1, 2).to(device, copy=True)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    for clamp in (None, 1.25):
        y = one_pass(x, f=f, clamp=clamp)[:, :, 1:2, 1:3]
        want = bias_act(x, act="lrelu", alpha=0.3, gain=1.5, clamp=clamp)
        (dx,) = torch.autograd.grad(y, x, torch.ones_like(y))
        (expected,) = torch.autograd.grad(want, x, torch.ones_like(want))
        finite = given.isfinite()
        torch.testing.assert_close(y[:, 3:], want[:, 3:])
        torch.testing.assert_close(dx, expected, equal_nan=True)
        assert y.isnan()[:, ~finite].any()


def test_what_is_kept(device):
    """Two bits for each element, and the filter: no map is."""
    kept = []
    x = maps(device, torch.float32, 2, 8, 6, 7).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        y = one_pass(x, torch.zeros(8, device=device, requires_grad=True))
    assert sum(t.nbytes for t in kept) == x.numel() // 4 + SKEW.nbytes
    y.sum().backward()


def test_no_codes_without_a_gradient(device):
    x = maps(device, torch.float32, 1, 8, 4, 4)
    with torch.no_grad():
        want = one_pass(x.clone().requires_grad_())
    assert torch.equal(one_pass(x), want)


@pytest.mark.parametrize(
    "options",
    [{"padding": 1}, {"act": "relu"}, {"act": "swish"}, {"act": "lrelu", "gain": -1.0}, {}],
    ids=str,
)
def test_the_function_is_the_two_ops(options, device):
    """On a CPU bit for bit; wherever one pass does not take the call, by its own rule."""
    x, b = maps(device, torch.float32, 1, 8, 5, 6), torch.randn(8, device=device)
    given = {"act": "lrelu", "padding": 2} | options
    got = bias_act_filter2d(x, b, BLUR.to(device), **given)
    padding = given.pop("padding")
    want = upfirdn2d(bias_act(x, b, **given), BLUR.to(device), padding=padding)
    assert torch.equal(got, want) if options else torch.allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(
    "given",
    [
        {"act": "relu"}, {"alpha": 0.0}, {"alpha": 1.5}, {"gain": -1.0}, {"pads": (1, 2, 2, 2)},
        {"pads": (2, 0, 2, 2)}, {"pads": (2, 2, 2, 0)}, {"f": BLUR[:3]},
        {"x": torch.zeros(1, 6, 5, 5)},
        {"x": torch.zeros(0, 8, 5, 5)},
    ],
    ids=lambda given: next(iter(given)),
)  # fmt: skip
def test_what_one_pass_does_not_take(given):
    call = {"x": torch.zeros(1, 8, 5, 5), "f": BLUR, "pads": (2, 2, 2, 2), "act": "lrelu",
            "alpha": 0.2, "gain": 1.0}  # fmt: skip
    taken = {k: v.contiguous(memory_format=torch.channels_last) if k == "x" else v
             for k, v in call.items()}  # fmt: skip
    assert is_one_pass(**taken)
    assert not is_one_pass(**taken | given)
    assert not is_one_pass(**call)  # planes
    shifted = torch.zeros(8 * 25 + 1)[1:].view(1, 5, 5, 8).permute(0, 3, 1, 2)
    assert not is_one_pass(**taken | {"x": shifted})


def sample(shape, power=1, has_b=True, options=OPTIONS, **more):
    def call(x, b=None):
        return one_pass(x, b, **options).pow(power)

    return Sample(call, {"x": shape} | ({"b": shape[1:2]} if has_b else {}),
                  layout="channels_last", **more)  # fmt: skip


X = torch.zeros(2, 8, 4, 4)
OP_INFO = OpInfo(
    samples={
        "clamp": sample((2, 8, 5, 6)),
        "no bias": sample((1, 8, 4, 4), has_b=False, options=OPTIONS | {"clamp": None}),
        "16 bits": sample((1, 8, 5, 4), dtype=torch.bfloat16),
    },
    derivatives={
        "clamp": sample((1, 4, 3, 4)),
        "odd padding, squared": sample((1, 4, 2, 3), 2, options=OPTIONS | {"x1": 3, "y1": 1}),
    },
    large={"strips": sample((2, 24, 61, 39))},
    constants=("f", "codes"),
    errors={
        "b": (ValueError, r"b must have shape \(8,\)", lambda: bias_act_filter2d(
            X, torch.zeros(4), BLUR)),
        "act": (ValueError, "act must be one of linear", lambda: bias_act_filter2d(
            X, None, BLUR, act="gelu")),
        "integer x": (TypeError, "bias_act_filter2d: x must be float64", lambda: bias_act_filter2d(
            X.int(), None, BLUR)),
        "f": (ValueError, "bias_act_filter2d: f must be a tensor", lambda: bias_act_filter2d(
            X, None, [1, 3, 3, 1])),
    },
    has_bits_of_64=False,
)  # fmt: skip
