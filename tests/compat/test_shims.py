# SPDX-License-Identifier: Apache-2.0
"""Every op of every shim against the semantics that its project documents, in both orders.

The definitions are plain torch (tests/_plain_definitions.py); what differs between the projects
(pads, slopes, flips, gains, names) is spelled out here, call by call.
"""

import _plain_definitions as plain
import pytest
import torch
import torch.nn.functional as F
from _both_orders import assert_same

from fastgan.compat import basicsr, bigvgan, mmcv, nvlabs
from fastgan.compat.rosinality import op as ros

X, B, W = (2, 4, 9, 8), (4,), (6, 4, 3, 3)
GRID = torch.tensor([[0.1, -0.2, 0.4], [0.3, 0.2, -0.1], [0.0, 0.5, 0.3], [0.2, 0.1, 0.6]])
PLACES = torch.rand(2, 5, 6, 2, generator=torch.Generator().manual_seed(1)) * 2.4 - 1.2
LINE = torch.tensor([0.1, -0.3, 0.5, 0.2, 0.7])  # neither is symmetric: a flip shows


def grid(x):
    return GRID.to(x)


def line(x):
    return LINE.to(x)


def nv_acts():
    """All nine activations; alpha, gain and clamp given and not."""
    for act in plain.ACTIVATIONS:
        yield (
            f"nvlabs.bias_act {act}",
            lambda x, b, act=act: nvlabs.bias_act.bias_act(x, b, act=act),
            lambda x, b, act=act: plain.bias_act(x, b, act=act),
            (X, B),
        )


# name: (the shim's call, the definition's, shapes of what is differentiated)
CASES = {name: case for name, *case in nv_acts()} | {
    "nvlabs.bias_act clamps after the gain": (
        lambda x, b: nvlabs.bias_act.bias_act(x, b, 1, "lrelu", 0.3, 2.0, 1.5),
        lambda x, b: (F.leaky_relu(x + b[:, None, None], 0.3) * 2.0).clamp(-1.5, 1.5),
        (X, B),
    ),
    "nvlabs.bias_act along another dimension, a negative clamp": (
        lambda x, b: nvlabs.bias_act.bias_act(x, b, dim=3, act="relu", clamp=-1),
        lambda x, b: F.relu(x + b) * 2**0.5,
        (X, (8,)),
    ),
    "nvlabs.bias_act impl=ref": (
        lambda x, b: nvlabs.bias_act.bias_act(x, b, act="swish", impl="ref"),
        lambda x, b: plain.bias_act(x, b, act="swish"),
        (X, B),
    ),
    "nvlabs.upfirdn2d, pairs are (x, y)": (
        lambda x: nvlabs.upfirdn2d.upfirdn2d(x, grid(x), up=[2, 1], down=[1, 3], padding=[2, 3]),
        lambda x: plain.upfirdn2d(x, grid(x), (2, 1), (1, 3), (2, 2, 3, 3)),
        (X,),
    ),
    "nvlabs.upfirdn2d crops, correlates, scales": (
        lambda x: nvlabs.upfirdn2d.upfirdn2d(
            x, line(x), up=2, padding=[-1, 2, 3, -2], flip_filter=True, gain=-1.5
        ),
        lambda x: plain.upfirdn2d(x, line(x), (2, 2), (1, 1), (-1, 2, 3, -2), True, -1.5),
        (X,),
    ),
    "nvlabs.filter2d": (
        lambda x: nvlabs.upfirdn2d.filter2d(x, grid(x), padding=1),
        lambda x: plain.upfirdn2d(x, grid(x), pads=(1 + 1, 1 + 1, 1 + 2, 1 + 1)),
        (X,),
    ),
    "nvlabs.upsample2d": (
        lambda x: nvlabs.upfirdn2d.upsample2d(x, grid(x), up=2, gain=0.5),
        lambda x: plain.upfirdn2d(x, grid(x), (2, 2), pads=(2, 0, 2, 1), gain=2.0),
        (X,),
    ),
    "nvlabs.downsample2d": (
        lambda x: nvlabs.upfirdn2d.downsample2d(x, grid(x), down=2, flip_filter=True),
        lambda x: plain.upfirdn2d(x, grid(x), (1, 1), (2, 2), (1, 0, 1, 1), True),
        (X,),
    ),
    "nvlabs.filtered_lrelu": (
        lambda x, b: nvlabs.filtered_lrelu.filtered_lrelu(
            x, line(x), grid(x), b, 2, 2, [5, 4, 6, 3], 1.1, 0.3, 0.7
        ),
        lambda x, b: plain.filtered_lrelu(
            x, line(x), grid(x), b, 2, 2, [5, 4, 6, 3], 1.1, 0.3, 0.7
        ),
        (X, B),
    ),
    "nvlabs.conv2d_resample up": (
        lambda x, w: nvlabs.conv2d_resample.conv2d_resample(
            x, w, grid(x), up=2, padding=1, flip_weight=False
        ),
        lambda x, w: plain.conv2d_resample(x, w, grid(x), up=2, padding=1, flip_weight=False),
        (X, W),
    ),
    "nvlabs.conv2d_resample down": (
        lambda x, w: nvlabs.conv2d_resample.conv2d_resample(x, w, grid(x), down=2, padding=1),
        lambda x, w: plain.conv2d_resample(x, w, grid(x), down=2, padding=1),
        (X, W),
    ),
    "nvlabs.conv2d_gradfix.conv2d": (
        lambda x, w: nvlabs.conv2d_gradfix.conv2d(x, w, stride=2, padding=2, dilation=2),
        lambda x, w: F.conv2d(x, w, stride=2, padding=2, dilation=2),
        (X, W),
    ),
    "nvlabs.conv2d_gradfix.conv_transpose2d": (
        lambda x, w: nvlabs.conv2d_gradfix.conv_transpose2d(
            x, w, stride=2, padding=1, output_padding=1
        ),
        lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1),
        (X, (4, 6, 3, 3)),
    ),
    "nvlabs.grid_sample_gradfix": (
        lambda x: nvlabs.grid_sample_gradfix.grid_sample(x, PLACES.to(x)),
        lambda x: bilinear(x),
        (X,),
    ),
    "nvlabs.fma": (
        lambda a, b, c: nvlabs.fma.fma(a, b, c),
        lambda a, b, c: a * b + c,
        (X, (1, 4, 1, 1), (2, 1, 9, 8)),
    ),
    "rosinality.fused_leaky_relu, the slope that is asked for": (
        lambda x, b: ros.fused_leaky_relu(x, b, 0.4, 1.3),
        lambda x, b: F.leaky_relu(x + b[:, None, None], 0.4) * 1.3,
        (X, B),
    ),
    "rosinality.fused_leaky_relu of rows": (
        lambda x, b: ros.fused_leaky_relu(x, b),
        lambda x, b: F.leaky_relu(x + b, 0.2) * 2**0.5,
        ((5, 4), B),
    ),
    "rosinality.upfirdn2d, a pair is (before, after)": (
        lambda x: ros.upfirdn2d(x, grid(x), up=2, down=1, pad=(3, 1)),
        lambda x: plain.upfirdn2d(x, grid(x), (2, 2), (1, 1), (3, 1, 3, 1)),
        (X,),
    ),
    "rosinality.upfirdn2d, four pads, negative ones": (
        lambda x: ros.upfirdn2d(x, grid(x), (1, 2), (2, 1), (-1, 3, 2, -2)),
        lambda x: plain.upfirdn2d(x, grid(x), (1, 2), (2, 1), (-1, 3, 2, -2)),
        (X,),
    ),
    "rosinality.upfirdn2d_native": (
        lambda x: ros.upfirdn2d_native(x, grid(x), 2, 1, 1, 2, 1, 2, 3, 0),
        lambda x: plain.upfirdn2d(x, grid(x), (2, 1), (1, 2), (1, 2, 3, 0)),
        (X,),
    ),
    "basicsr.fused_leaky_relu": (
        lambda x, b: basicsr.fused_leaky_relu(x, b, negative_slope=0.1, scale=0.5),
        lambda x, b: F.leaky_relu(x + b[:, None, None], 0.1) * 0.5,
        (X, B),
    ),
    "basicsr.upfirdn2d": (
        lambda x: basicsr.upfirdn2d(x, grid(x), up=1, down=2, pad=(2, 1)),
        lambda x: plain.upfirdn2d(x, grid(x), (1, 1), (2, 2), (2, 1, 2, 1)),
        (X,),
    ),
    "mmcv.fused_bias_leakyrelu": (
        lambda x, b: mmcv.fused_bias_leakyrelu(x, b, negative_slope=0.3, scale=1.0),
        lambda x, b: F.leaky_relu(x + b[:, None, None], 0.3),
        (X, B),
    ),
    "mmcv.bias_act": (
        lambda x, b: mmcv.bias_act(x, bias=b, act="sigmoid"),
        lambda x, b: (x + b[:, None, None]).sigmoid(),
        (X, B),
    ),
    "mmcv.bias_act, use_custom_op=False is ref": (
        lambda x, b: mmcv.bias_act(x, bias=b, act="elu", use_custom_op=False),
        lambda x, b: plain.bias_act(x, b, act="elu"),
        (X, B),
    ),
    "mmcv.upfirdn2d of 2.x": (
        lambda x: mmcv.upfirdn2d(x, filter=grid(x), up=2, padding=[1, 2], gain=2),
        lambda x: plain.upfirdn2d(x, grid(x), (2, 2), pads=(1, 1, 2, 2), gain=2),
        (X,),
    ),
    "mmcv.upfirdn2d of 1.x": (
        lambda x: mmcv.upfirdn2d(x, grid(x), up=2, down=1, pad=(1, 2)),
        lambda x: plain.upfirdn2d(x, grid(x), (2, 2), pads=(1, 2, 1, 2)),
        (X,),
    ),
    "mmcv.filtered_lrelu": (
        lambda x, b: mmcv.filtered_lrelu(x, line(x), line(x), b, up=2, down=2, padding=4),
        lambda x, b: plain.filtered_lrelu(x, line(x), line(x), b, 2, 2, 4),
        (X, B),
    ),
    "bigvgan.Activation1d": (
        lambda x, a, b: activation1d(x, a, b, bigvgan.Activation1d),
        lambda x, a, b: activation1d(x, a, b, None),
        ((2, 3, 20), (3,), (3,)),
    ),
}  # fmt: skip


class TheirSnakeBeta(torch.nn.Module):
    """By its attributes alone."""

    def __init__(self, alpha, beta):
        super().__init__()
        self.alpha_logscale = True
        self.alpha, self.beta = torch.nn.Parameter(alpha), torch.nn.Parameter(beta)
        self.taken = alpha, beta

    def __getattribute__(self, name):
        taken = object.__getattribute__(self, "__dict__").get("taken")
        if taken is not None and name in ("alpha", "beta"):  # so that autograd sees the arguments
            return taken[name == "beta"]
        return super().__getattribute__(name)


def activation1d(x, alpha, beta, make):
    """With the parameters in logarithms; without `make`, step by step."""
    from fastgan.ops import kaiser_sinc_filter

    if make is not None:
        layer = make(TheirSnakeBeta(alpha.detach(), beta.detach()), fused=True).to(x)
        layer.act.taken = alpha, beta
        return layer(x)
    f = kaiser_sinc_filter(0.25, 0.3, 12).to(x)
    n, c, t = x.shape
    u = F.pad(x.reshape(n * c, 1, t), (5, 5), mode="replicate")
    u = 2 * F.conv_transpose1d(u, f.view(1, 1, -1), stride=2)[..., 15:-15]
    u = u.reshape(n, c, 2 * t)
    u = u + (u * alpha.exp()[:, None]).sin().square() / (beta.exp()[:, None] + 1e-9)
    u = F.pad(u.reshape(n * c, 1, 2 * t), (5, 6), mode="replicate")
    return F.conv1d(u, f.view(1, 1, -1), stride=2).reshape(n, c, t)


def inputs_of(shapes):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


@pytest.mark.parametrize("name", CASES)
def test_values_and_both_orders_of_gradient(name, device):
    ours, theirs, shapes = CASES[name]
    assert_same(ours, theirs, inputs_of(shapes), device)


# Not those that switch backends in the call, nor the one that builds its layer there.
@pytest.mark.parametrize("name", [n for n in CASES if "ref" not in n and "Activation1d" not in n])
def test_compiles_whole(name, device):
    ours, _, shapes = CASES[name]
    inputs = [t.float().to(device) for t in inputs_of(shapes)]
    torch.compiler.reset()
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), ours(*inputs))


def test_grid_sample_of_a_torch_whose_own_has_no_second_derivative(monkeypatch, device):
    monkeypatch.setattr(nvlabs.grid_sample_gradfix, "_IS_NATIVE", False)
    assert_same(
        lambda x: nvlabs.grid_sample_gradfix.grid_sample(x, PLACES.to(x)),
        bilinear,
        inputs_of((X,)),
        device,
    )
    grid = PLACES.double().to(device).requires_grad_()
    x = torch.randn(X, dtype=torch.float64, device=device)
    y = nvlabs.grid_sample_gradfix.grid_sample(x, grid)
    (dgrid,) = torch.autograd.grad(y.square().sum(), grid, create_graph=True)
    other = PLACES.double().requires_grad_()
    want = F.grid_sample(x.cpu(), other, align_corners=False)
    torch.testing.assert_close(
        dgrid.detach().cpu(), torch.autograd.grad(want.square().sum(), other)[0]
    )
    with pytest.raises(NotImplementedError, match=r"from torch 2\.13 on"):
        torch.autograd.grad(dgrid.sum(), grid)


def bilinear(x):
    """grid_sample at PLACES by hand: four neighbours, nothing outside."""
    n, _, h, w = x.shape
    place = PLACES.to(x)
    u = ((place[..., 0] + 1) * w - 1) / 2
    v = ((place[..., 1] + 1) * h - 1) / 2
    padded = F.pad(x, (2, 2, 2, 2))
    y = 0
    for i in (0, 1):
        for j in (0, 1):
            row, column = v.floor().long() + i, u.floor().long() + j
            share = (1 - (v - row).abs()) * (1 - (u - column).abs())
            inside = (row >= -2) & (row < h + 2) & (column >= -2) & (column < w + 2)
            row, column = (row + 2).clamp(0, h + 3), (column + 2).clamp(0, w + 3)
            picked = torch.stack([padded[k][:, row[k], column[k]] for k in range(n)])
            y = y + picked * (share * inside)[:, None]
    return y


def test_activation1d_compiles_whole(device):
    layer = bigvgan.Activation1d(bigvgan.SnakeBeta(3, alpha_logscale=True)).to(device)
    x = torch.randn(2, 3, 20, device=device)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))


def test_modules_hold_what_their_checkpoints_hold(device):
    x = torch.randn(2, 3, 4, 4)
    for layer, name in (
        (ros.FusedLeakyReLU(3), "bias"),
        (basicsr.FusedLeakyReLU(3), "bias"),
        (mmcv.FusedBiasLeakyReLU(3), "bias"),
    ):
        assert list(layer.state_dict()) == [name]
        with torch.no_grad():
            layer.bias.copy_(torch.tensor([0.5, -1.0, 2.0]))
        want = F.leaky_relu(x + layer.bias[:, None, None], 0.2) * 2**0.5
        torch.testing.assert_close(layer.to(device)(x.to(device)).cpu(), want)
    assert ros.FusedLeakyReLU(3, bias=False).state_dict() == {}
    layer = bigvgan.Activation1d(bigvgan.SnakeBeta(3, alpha_logscale=True))
    assert set(layer.state_dict()) == {
        "act.alpha", "act.beta", "upsample.filter", "downsample.lowpass.filter"
    }  # fmt: skip


def test_what_networks_read_beside_the_ops():
    assert nvlabs.bias_act.activation_funcs["lrelu"].def_gain == 2**0.5
    assert nvlabs.bias_act.activation_funcs["lrelu"].def_alpha == 0.2
    assert nvlabs.bias_act.activation_funcs["linear"].def_gain == 1
    u = torch.tensor([-1.0, 1.0])
    assert nvlabs.bias_act.activation_funcs["lrelu"].func(u, alpha=0.5).tolist() == [-0.5, 1.0]
    assert nvlabs.upfirdn2d._parse_padding([1, 2]) == (1, 1, 2, 2)
    assert nvlabs.upfirdn2d._parse_scaling(2) == (2, 2)
    assert nvlabs.upfirdn2d._get_filter_size(GRID) == (3, 4)  # width first
    assert nvlabs.upfirdn2d._get_filter_size(None) == (1, 1)
    with nvlabs.conv2d_gradfix.no_weight_gradients(False), ros.no_weight_gradients():
        pass
    kernel = ros.make_kernel([1, 3, 3, 1])
    torch.testing.assert_close(kernel, torch.outer(*[torch.tensor([1.0, 3, 3, 1])] * 2) / 64)
    f = nvlabs.upfirdn2d.setup_filter([1, 3, 3, 1], gain=4, flip_filter=True)
    torch.testing.assert_close(f, 4 * kernel)
    assert nvlabs.upfirdn2d.setup_filter(list(range(8))).shape == (8,)


def test_r1_through_no_weight_gradients_has_its_weight_gradient(device):
    """The loop of stylegan2-ada: the inner gradient in the block, the outer one outside."""
    w = torch.randn(4, 3, 3, 3, dtype=torch.float64, device=device, requires_grad=True)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, device=device, requires_grad=True)
    with nvlabs.conv2d_gradfix.no_weight_gradients():
        logits = nvlabs.conv2d_gradfix.conv2d(x, w, padding=1).square().sum()
        (dx,) = torch.autograd.grad(logits, x, create_graph=True)
    penalty = dx.square().sum()
    (dw,) = torch.autograd.grad(penalty, w)
    want = torch.autograd.grad(F.conv2d(x, w, padding=1).square().sum(), x, create_graph=True)
    (want,) = torch.autograd.grad(want[0].square().sum(), w)
    torch.testing.assert_close(dw, want)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: nvlabs.bias_act.bias_act(x, impl="opencl"), "impl must be 'cuda'"),
        (lambda x: nvlabs.upfirdn2d.upfirdn2d(x, None, impl="gpu"), "impl must be 'cuda'"),
        (lambda x: nvlabs.custom_ops.get_plugin("bias_act_plugin"), "compiles nothing"),
        (lambda x: bigvgan.Activation1d(torch.nn.ReLU()), "must be a Snake or SnakeBeta"),
    ],
)
def test_errors(call, words):
    with pytest.raises((ValueError, RuntimeError, TypeError), match=words):
        call(torch.randn(2, 3, 4, 4))
