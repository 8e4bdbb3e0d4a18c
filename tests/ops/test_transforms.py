"""torch.func's transforms, and forward-mode differentiation, over every op: as over plain torch."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, jacrev, jvp, vjp, vmap

from fastgan import ops
from fastgan.ops._backend import defined_ops

F = ops.setup_filter([1, 3, 3, 1])
K = ops.kaiser_sinc_filter(0.25, 0.3, 12)

X, CHANNELS, STYLES = (2, 3, 4, 4), (3,), (2, 3)
# name: (function of x and other tensors, shapes)
CASES = {
    "bias_act": (lambda x, b: ops.bias_act(x, b, act="swish"), X, CHANNELS),
    "upfirdn2d": (lambda x: ops.upfirdn2d(x, F.to(x), up=2, padding=2), X),
    "noise_bias_act": (
        lambda x, s, n, b: ops.noise_bias_act(x, s, n, None, b, act="lrelu"),
        X, STYLES, (2, 1, 4, 4), CHANNELS,
    ),
    "modulate": (ops.modulate, X, STYLES),
    "channel_dot": (ops.channel_dot, X, X),
    "demodulation": (ops.demodulation, (4, 3, 3, 3), STYLES),
    "minibatch_stddev": (lambda x: ops.minibatch_stddev(x, 2), (4, 3, 4, 4)),
    "gradient_penalty": (ops.gradient_penalty, X),
    "anti_aliased_snake": (
        lambda x, a, b: ops.anti_aliased_snake(x, a.abs(), b.abs() + 1, K.to(x), K.to(x)),
        (2, 3, 16), CHANNELS, CHANNELS,
    ),
    "winograd_conv2d": (lambda x, w: ops.winograd_conv2d(x, w, 1), (2, 4, 8, 8), (4, 4, 3, 3)),
    "winograd_strided_conv2d": (
        lambda x, w: ops.winograd_strided_conv2d(x, w, 1), (2, 4, 8, 8), (4, 4, 3, 3),
    ),
    "grouped_conv2d": (
        lambda x, w: ops.grouped_conv2d(x, w, 2, 1), (2, 8, 8, 8), (8, 4, 3, 3),
    ),
    "filtered_lrelu": (
        lambda x, b: ops.filtered_lrelu(x, F.to(x), F.to(x), b, 2, 2, 3), (2, 3, 6, 6), CHANNELS,
    ),
    "modulated_conv2d": (
        lambda x, w, s: ops.modulated_conv2d(x, w, s, padding=1), X, (4, 3, 3, 3), STYLES,
    ),
}  # fmt: skip


def inputs(name, device, request):
    is_winograd = "conv2d" in name and "modul" not in name
    if is_winograd and request.config.getoption("--backend") == "emulator":
        pytest.skip("the emulator runs CUDA kernels, and Winograd has none")
    torch.manual_seed(0)
    run, *shapes = CASES[name]
    tensors = [torch.randn(shape, dtype=torch.float64, device=device) for shape in shapes]
    return lambda x: run(x, *tensors[1:]), tensors[0]


def near(a, b, rtol=1e-9):
    torch.testing.assert_close(a, b, rtol=rtol, atol=1e-9)


def directional(run, x, v):
    """(run(x + v·e) - run(x - v·e)) / 2e: knows no derivative of ours or torch's."""
    e = 1e-5
    return (run(x + e * v) - run(x - e * v)) / (2 * e)


@pytest.mark.parametrize("name", CASES)
def test_reverse(name, device, request):
    run, x = inputs(name, device, request)
    leaf = x.clone().requires_grad_()
    (want,) = torch.autograd.grad(run(leaf).square().sum(), leaf)
    near(grad(lambda x: run(x).square().sum())(x), want)
    y, pull = vjp(run, x)
    near(y, run(x))
    near(pull(2 * y)[0], want)
    near(torch.einsum("i,i...->...", 2 * y.flatten(), jacrev(run)(x).flatten(0, y.dim() - 1)), want)


@pytest.mark.parametrize("name", CASES)
def test_forward(name, device, request):
    run, x = inputs(name, device, request)
    v = torch.randn_like(x)
    want = directional(run, x, v)
    near(jvp(run, (x,), (v,))[1], want, 1e-6)
    with forward_ad.dual_level():
        y = run(forward_ad.make_dual(x, v))
        near(forward_ad.unpack_dual(y).tangent, want, 1e-6)


@pytest.mark.parametrize("name", CASES)
def test_vmap(name, device, request):
    run, x = inputs(name, device, request)
    xs = torch.stack([x, 0.5 * x, x + 1])
    near(vmap(run)(xs), torch.stack([run(x) for x in xs]))
    each = grad(lambda x: run(x).square().sum())
    near(vmap(each)(xs), torch.stack([each(x) for x in xs]))


def test_every_op_is_here():
    """But adam_ema_, which writes in place and has no derivative."""
    public = {name for name in ops.__all__ if name in defined_ops()}
    assert public - set(CASES) == {"adam_ema_"}
