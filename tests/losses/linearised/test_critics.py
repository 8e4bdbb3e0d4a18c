# SPDX-License-Identifier: Apache-2.0
"""`linearised` on whole critics, against double backward."""

import copy

import pytest
import torch
import torch.nn.functional as F
from linearised_critics import (
    assert_exact,
    by_double_backward,
    by_linearising,
    leaves,
    loss_of,
    parameter_gradients,
    plain,
    relative_errors,
    residual_critic,
)
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan.losses.gradient_penalty import (
    gradient_norm_penalty,
    logits_and_penalty,
    r1,
    r2,
    wgan_gp,
)
from fastgan.losses.linearised import linearise
from fastgan.models import load_architecture
from fastgan.ops.bias_act import ACTIVATIONS
from fastgan.ops.bias_act_filter2d import in_one_pass, is_one_pass

SHIPPED = {
    "mlp": ("mlp", {}),
    "mlp, conditional": ("mlp", {"c_dim": 3}),
    "dcgan": ("dcgan", {"d_norm": "none", "d_channels": 8}),
    "dcgan, conditional": ("dcgan", {"d_norm": "none", "d_channels": 8, "c_dim": 3}),
    "stylegan2": ("stylegan2", {"mbstd_channels": 0}),
    "stylegan2, skip, clamp": (
        "stylegan2", {"mbstd_channels": 0, "d_architecture": "skip", "conv_clamp": 1.0}),
    "stylegan2, conditional": ("stylegan2", {"mbstd_channels": 0, "c_dim": 3}),
}  # fmt: skip


def shipped(name, dtype):
    architecture, options = SHIPPED[name]
    if architecture == "stylegan2":
        options = {"channel_base": 128, "channel_max": 16, **options}
    module = load_architecture(architecture)
    config = module.Config(img_height=20, img_width=17, img_channels=2, **options)
    torch.manual_seed(1)
    D = module.Discriminator(config).to(dtype)
    x = torch.randn(4, 2, 20, 17, dtype=dtype)
    c = (torch.eye(3, dtype=dtype)[[0, 2, 1, 2]],) if config.c_dim else ()
    return D, x, c


def test_stylegan2_as_it_runs_on_a_gpu(monkeypatch, backend):
    """There an activation and the filter after it are one operator; not in float64, by itself."""
    sizes = []

    def in_one_pass_each(x, b, f, padding, act, gain, clamp):
        x = x.contiguous(memory_format=torch.channels_last)
        spec = ACTIVATIONS[act]
        gain = spec.gain if gain is None else gain
        assert is_one_pass(x, f, padding, act, spec.alpha, gain)
        sizes.append(x.shape[2:])
        return in_one_pass(x, b, f, padding[1], padding[3], spec.alpha, gain, clamp)

    monkeypatch.setattr("fastgan.nn.conv._joins", lambda x: True)
    monkeypatch.setattr("fastgan.nn.conv.bias_act_filter2d", in_one_pass_each)
    for name in ("stylegan2", "stylegan2, skip, clamp"):
        assert assert_exact(*shipped(name, torch.float64), target=1.0)
    assert len(set(sizes)) == 2  # both blocks


def residual(dtype):
    torch.manual_seed(2)
    return residual_critic().to(dtype), torch.randn(3, 2, 6, 6, dtype=dtype)


@pytest.mark.parametrize("target", [0.0, 1.0])
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_critics(name, target):
    assert assert_exact(*shipped(name, torch.float64), target=target)


def test_residual_critic_with_grouped_convolutions():
    assert assert_exact(*residual(torch.float64))


@pytest.mark.parametrize("name", [*SHIPPED, "residual"])
def test_float32_is_as_near_to_float64_as_autograd(name):
    D, x, *c = shipped(name, torch.float32) if name in SHIPPED else residual(torch.float32)
    c = c[0] if c else ()
    exact = copy.deepcopy(D).double()
    want = by_double_backward(exact, x.double(), [t.double() for t in c])[2]
    theirs = by_double_backward(D, x, c)[2]
    mine = by_linearising(D, x, c)[2]
    theirs, mine = relative_errors(theirs, want), relative_errors(mine, want)
    for parameter in want:
        assert mine[parameter] <= max(1e-6, 2 * theirs[parameter]), parameter


@pytest.mark.parametrize("name", ["mlp", "dcgan", "stylegan2", "residual"])
def test_autocast(name):
    D, x, *c = shipped(name, torch.float32) if name in SHIPPED else residual(torch.float32)
    c = c[0] if c else ()
    exact = by_double_backward(copy.deepcopy(D).double(), x.double(), [t.double() for t in c])[2]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, g, theirs = by_double_backward(D, x, c)
        my_logits, my_g, mine = by_linearising(D, x, c)
    assert torch.equal(my_logits, logits)
    assert all(torch.equal(a, b) for a, b in zip(my_g, g, strict=True))
    theirs, mine = relative_errors(theirs, exact), relative_errors(mine, exact)
    for parameter in exact:
        assert mine[parameter] <= max(0.02, 2 * theirs[parameter]), parameter


def test_spectral_norm_takes_one_power_iteration_and_its_gradient():
    module = load_architecture("mlp")
    D = module.Discriminator(module.Config(data_shape=(5,), d_norm="spectral")).double()
    x = torch.randn(3, 5, dtype=torch.float64)
    want = by_double_backward(copy.deepcopy(D), x)[2]
    got = by_linearising(D, x)[2]
    assert max(relative_errors(got, want).values()) < 1e-12


@pytest.mark.parametrize("penalty", ["r1", "r2", "wgan_gp"])
def test_the_penalties_by_name(penalty, monkeypatch):
    D, x = plain()
    monkeypatch.setattr(torch, "rand", lambda n, **options: torch.linspace(0, 1, n, **options))
    run = {"r1": r1, "r2": r2, "wgan_gp": lambda D, x, **o: wgan_gp(D, x, x.flip(0), **o)}[penalty]
    want, got = run(D, x, method="double_backward"), run(D, x, method="linearised")
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    want, got = parameter_gradients(D, want.sum()), parameter_gradients(D, got.sum())
    assert max(relative_errors(got, want).values()) < 1e-12


def test_several_inputs_and_one_that_is_ignored():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 5), nn.Linear(2, 5)
            self.out = nn.Linear(5, 1)

        def forward(self, xs):
            x, y, _ = xs
            return self.out(F.leaky_relu(self.a(x) + self.b(y), 0.1))

    D = Two().double()
    x = tuple(torch.randn(4, n, dtype=torch.float64) for n in (3, 2, 7))
    penalty = gradient_norm_penalty(D, x, method="linearised")
    want = gradient_norm_penalty(D, x, method="double_backward")
    torch.testing.assert_close(penalty, want)
    errors = relative_errors(
        parameter_gradients(D, penalty.sum()), parameter_gradients(D, want.sum())
    )
    assert max(errors.values()) < 1e-12


def test_by_finite_differences():
    D, x = plain()
    names = [name for name, _ in D.named_parameters()]
    values = [p.detach().clone().requires_grad_() for p in D.parameters()]

    def both(*parameters):
        def critic(x):
            return functional_call(D, dict(zip(names, parameters, strict=True)), x)

        logits, penalty = logits_and_penalty(critic, x, target=1.0, method="linearised")
        return logits, penalty

    assert torch.autograd.gradcheck(both, values)


def test_conditions_and_embeddings_take_gradients():
    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.embed = nn.Linear(5, 6), nn.Embedding(3, 6)

        def forward(self, x, c):
            h = F.leaky_relu(self.body(x), 0.2)
            return (h * self.embed(c)).sum(1, keepdim=True)

    D, x = Projected().double(), torch.randn(4, 5, dtype=torch.float64)
    c = torch.tensor([2, 0, 2, 1])
    assert assert_exact(D, x, (c,))


def test_no_host_reads():
    class NoHostReads(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert func is not torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    D, x, c = shipped("stylegan2, conditional", torch.float32)
    with NoHostReads():
        outcome = linearise(D, leaves(x), c)
        loss_of(outcome.logits, outcome.gradients).backward()
    assert all(p.grad is not None for p in D.parameters())
