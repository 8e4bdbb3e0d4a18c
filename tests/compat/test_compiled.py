# SPDX-License-Identifier: Apache-2.0
"""torch.compile of networks in the style of the originals, whose ops are replaced: one graph each.

The networks are written here; `patch` makes the modules that they import.
"""

import copy
import importlib
import sys
import textwrap
import warnings

import pytest
import torch
from code_bases import CODE_BASES, write

from fastgan.compat import mmcv, nvlabs, patch
from fastgan.compat.rosinality import op
from fastgan.ops import _backend

STYLEGAN2 = """
    import numpy as np
    import torch
    from torch_utils.ops import bias_act, conv2d_gradfix, conv2d_resample, fma, upfirdn2d

    class Modulated(torch.nn.Module):
        def __init__(self, n_in, n_out, up=1):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(n_out, n_in, 3, 3))
            self.bias = torch.nn.Parameter(torch.zeros(n_out))
            self.affine = torch.nn.Linear(8, n_in)
            self.register_buffer("resample_filter", upfirdn2d.setup_filter([1, 3, 3, 1]))
            self.noise_strength = torch.nn.Parameter(torch.ones([]))
            self.up, self.act_gain = up, bias_act.activation_funcs["lrelu"].def_gain

        def forward(self, x, w, fused=True, impl="cuda"):
            styles = self.affine(w)
            n = x.shape[0]
            weights = self.weight[None] * styles.reshape(n, 1, -1, 1, 1)
            norm = (weights.square().sum([2, 3, 4]) + 1e-8).rsqrt()
            noise = torch.ones(n, 1, x.shape[2] * self.up, x.shape[3] * self.up)
            noise = noise * self.noise_strength
            if fused:
                weights = (weights * norm[:, :, None, None, None]).flatten(0, 1)
                x = x.reshape(1, -1, *x.shape[2:])
                x = conv2d_resample.conv2d_resample(
                    x=x, w=weights, f=self.resample_filter, up=self.up, padding=1, groups=n,
                    flip_weight=(self.up == 1))
                x = x.reshape(n, -1, *x.shape[2:]).add_(noise)
            else:
                x = conv2d_resample.conv2d_resample(
                    x=x * styles[:, :, None, None], w=self.weight, f=self.resample_filter,
                    up=self.up, padding=1, flip_weight=(self.up == 1))
                x = fma.fma(x, norm[:, :, None, None], noise)
            return bias_act.bias_act(x, self.bias, act="lrelu", gain=self.act_gain, clamp=256,
                                     impl=impl)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.const = torch.nn.Parameter(torch.randn(4, 4, 4))
            self.first, self.second = Modulated(4, 6, up=2), Modulated(6, 3)
            self.down = torch.nn.Parameter(torch.randn(5, 3, 3, 3))

        def forward(self, w):
            x = self.const[None].repeat([w.shape[0], 1, 1, 1])
            img = upfirdn2d.upsample2d(x[:, :3], self.first.resample_filter)
            x = self.second(self.first(x, w), w, fused=False, impl="ref")
            img = img.add_(x.to(dtype=torch.float32, memory_format=torch.contiguous_format))
            with conv2d_gradfix.no_weight_gradients(disable=False):
                x = conv2d_resample.conv2d_resample(
                    x=img, w=self.down, f=self.first.resample_filter, down=2, padding=1)
            return upfirdn2d.downsample2d(x, upfirdn2d.setup_filter([1, 2, 1])), img
"""
STYLEGAN3 = """
    import torch
    from torch_utils.ops import conv2d_gradfix, bias_act, filtered_lrelu

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(4, 8, 3, 3))
            self.bias = torch.nn.Parameter(torch.zeros(4))
            self.register_buffer("magnitude_ema", torch.ones([]))
            self.register_buffer("up_filter", torch.ones(12) / 12)
            self.register_buffer("down_filter", torch.ones(6, 6) / 36)

        def forward(self, w):
            x = w[:, :, None, None] * torch.arange(36.0).reshape(6, 6)
            if self.training:
                now = x.detach().to(torch.float32).square().mean()
                self.magnitude_ema.copy_(now.lerp(self.magnitude_ema, 0.999))
            x = x * self.magnitude_ema.rsqrt()
            x = conv2d_gradfix.conv2d(input=x, weight=self.weight.to(x.dtype), padding=[2, 2])
            x = filtered_lrelu.filtered_lrelu(
                x=x, fu=self.up_filter, fd=self.down_filter, b=self.bias, up=2, down=2,
                padding=[9, 9, 9, 9], gain=2 ** 0.5, slope=0.2, clamp=256)
            return bias_act.bias_act(x, None, act="linear", gain=0.25), x
"""
ROSINALITY = """
    import torch
    from op import FusedLeakyReLU, conv2d_gradfix, fused_leaky_relu, upfirdn2d

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(8, 4, 3, 3))
            self.activate = FusedLeakyReLU(4)
            self.register_buffer("kernel", torch.ones(4, 4) / 4)
            self.bias = torch.nn.Parameter(torch.zeros(8))

        def forward(self, w):
            x = fused_leaky_relu(w, self.bias)
            x = x[:, :, None, None] * torch.arange(16.0).reshape(4, 4)
            x = conv2d_gradfix.conv_transpose2d(x, self.weight, padding=0, stride=2)
            x = self.activate(upfirdn2d(x, self.kernel, pad=(1, 1)))
            return upfirdn2d(x, self.kernel, up=2, down=1, pad=(2, 1)), x
"""
NETWORKS = {
    "stylegan2-ada": STYLEGAN2,
    "stylegan3": STYLEGAN3,
    "rosinality": ROSINALITY,
}


class Graphs:
    """A backend that counts graphs and knows the operators in them."""

    def __init__(self):
        self.count, self.operators = 0, set()

    def __call__(self, graph, inputs):
        self.count += 1
        self.operators |= {str(node.target) for node in graph.graph.nodes}
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    def has(self, name):
        return any(operator.startswith(f"fastgan.{name}") for operator in self.operators)


@pytest.fixture
def network(request, tmp_path, monkeypatch):
    """network(family): one in the style of that family, under `patch`."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def make(family):
        files = CODE_BASES[family] | {"net.py": textwrap.dedent(NETWORKS[family])}
        if family == "rosinality":
            files["op/__init__.py"] = (
                "from .fused_act import FusedLeakyReLU, fused_leaky_relu\n"
                "from .upfirdn2d import upfirdn2d\n"
            )
        write(tmp_path, files)
        importlib.invalidate_caches()
        done = patch(family)
        request.addfinalizer(done.undo)
        torch.manual_seed(0)
        return importlib.import_module("net").Net()

    torch.compiler.reset()
    yield make
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("net", "op", "torch_utils"):
            del sys.modules[name]


@pytest.mark.parametrize("family", NETWORKS)
def test_one_graph_forward_and_backward(family, network):
    net, graphs = network(family), Graphs()
    eager = copy.deepcopy(net)
    compiled = torch.compile(net, fullgraph=True, backend=graphs)
    w = torch.randn(2, 8, requires_grad=True)
    found, wanted = compiled(w), eager(w)
    assert graphs.count == 1
    for mine, want in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, want)
    grads = [
        torch.autograd.grad(sum(y.square().mean() for y in ys), [w, *of.parameters()])
        for ys, of in ((found, net), (wanted, eager))
    ]
    for mine, want in zip(*grads, strict=True):
        torch.testing.assert_close(mine, want)
    assert graphs.has("upfirdn2d") or graphs.has("filtered_lrelu")


@pytest.mark.parametrize(
    ("call", "native"),
    [
        (lambda x: nvlabs.bias_act.bias_act(x, act="lrelu", impl="ref"), False),
        (lambda x: nvlabs.bias_act.bias_act(x, act="lrelu", impl="cuda"), True),
        (lambda x: nvlabs.upfirdn2d.upsample2d(x, None, impl="ref"), False),
        (lambda x: mmcv.bias_act(x, act="lrelu", use_custom_op=False), False),
        (lambda x: mmcv.bias_act(x, act="lrelu", use_custom_op=True), True),
    ],
)
def test_the_switch_of_the_backend_within_a_graph(call, native):
    torch.compiler.reset()
    graphs = Graphs()
    x = torch.randn(2, 3, 4, 4)
    compiled = torch.compile(call, fullgraph=True, backend=graphs)
    torch.testing.assert_close(compiled(x), call(x))
    assert graphs.has("") == native
    assert not _backend._traced_reference
    torch.compiler.reset()  # what is compiled after it is native again
    graphs = Graphs()
    torch.compile(lambda x: nvlabs.bias_act.bias_act(x, act="lrelu"), backend=graphs)(x)
    assert graphs.has("bias_act")


def test_filters_made_within_a_graph():
    torch.compiler.reset()
    make = torch.compile(op.make_kernel, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(make([1.0, 3.0, 3.0, 1.0]), op.make_kernel([1, 3, 3, 1]))
    with pytest.raises(RuntimeError, match="the taps sum to 0"):
        make([1.0, -1.0])


class Quiet(warnings.catch_warnings):
    """A block of the kind that torch.compile does not trace."""


def test_what_breaks_the_graph_elsewhere_does_so_with_correct_results():
    def forward(x):
        with Quiet():
            x = nvlabs.bias_act.bias_act(x, act="lrelu")
        return nvlabs.upfirdn2d.upsample2d(x, None)

    torch.compiler.reset()
    x = torch.randn(1, 2, 3, 3)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(forward, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(torch.compile(forward, backend="aot_eager")(x), forward(x))
