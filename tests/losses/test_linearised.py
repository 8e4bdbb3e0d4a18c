"""`linearised` on whole critics, and what can happen around it."""

import contextlib
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
from fastgan.losses.linearised import linearise, worth_trying
from fastgan.models import load_architecture

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


def residual(dtype):
    torch.manual_seed(2)
    return residual_critic().to(dtype), torch.randn(3, 2, 6, 6, dtype=dtype)


def plain(dtype=torch.float64):
    torch.manual_seed(4)
    D = nn.Sequential(nn.Conv2d(2, 4, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(64, 1))
    return D.to(dtype), torch.randn(3, 2, 6, 6, dtype=dtype)


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

        def forward(self, x, y, z):
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


# What changes between or around two calls: nothing is remembered.


def test_parameters_flags_and_python_values_are_those_of_the_moment():
    class Fading(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(5, 4), nn.Linear(5, 4), nn.Linear(4, 1)
            self.alpha, self.depth = 0.25, 1
            self.register_buffer("scale", torch.ones(4))

        def forward(self, x):
            h = self.alpha * self.a(x) + (1 - self.alpha) * self.b(x).relu()
            for _ in range(self.depth):
                h = F.leaky_relu(h * self.scale, 0.1 if self.training else 0.3)
            return self.out(h)

    torch.manual_seed(0)
    D, x = Fading().double(), torch.randn(3, 5, dtype=torch.float64)
    assert_exact(D, x)
    D.alpha, D.depth = 0.75, 2
    assert_exact(D, x)
    D.eval()
    with torch.no_grad():
        D.scale.mul_(3)
        D.a.weight.add_(1)
    assert_exact(D, torch.randn(5, 5, dtype=torch.float64))
    D.a = nn.Sequential(nn.Linear(5, 4), nn.ReLU()).double()
    assert_exact(D, x)


def test_a_branch_on_the_data_is_the_one_taken():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 1), nn.Linear(5, 1)

        def forward(self, x):
            return self.a(x.relu()) if x.sum() > 0 else self.b(x.abs())

    D, x = Branching().double(), torch.ones(2, 5, dtype=torch.float64)
    assert_exact(D, x)
    assert_exact(D, -x)


def test_the_random_draws_are_those_of_the_forward_pass():
    D = nn.Sequential(nn.Linear(6, 50), nn.ReLU(), nn.Dropout(0.5), nn.Linear(50, 1)).double()
    x = torch.randn(3, 6, dtype=torch.float64)
    torch.manual_seed(5)
    want = by_double_backward(D, x)[2]
    torch.manual_seed(5)
    got = by_linearising(D, x)[2]
    assert max(relative_errors(got, want).values()) < 1e-12


def test_one_module_used_twice():
    shared = nn.Conv2d(4, 4, 3, padding=1)
    D = nn.Sequential(nn.Conv2d(2, 4, 1), shared, nn.LeakyReLU(0.2), shared, nn.ReLU(),
                      nn.Flatten(), nn.Linear(144, 1)).double()  # fmt: skip
    assert assert_exact(D, torch.randn(2, 2, 6, 6, dtype=torch.float64))


@pytest.mark.parametrize("frozen", [["0.weight"], ["0.bias", "3.bias"], ["0.weight", "0.bias"]])
def test_frozen_parameters_take_none(frozen):
    D, x = plain()
    for name in frozen:
        D.get_parameter(name).requires_grad_(False)
    assert assert_exact(D, x)


def test_everything_frozen():
    D, x = plain()
    penalty = r1(D.requires_grad_(False), x, method="linearised")
    torch.testing.assert_close(penalty, r1(D, x, method="double_backward").detach())
    assert not penalty.requires_grad


def test_gradients_accumulate_in_grad_and_pass_parameter_hooks():
    D, x = plain()
    seen = []
    D[0].weight.register_hook(lambda g: seen.append(g) or 2 * g)
    want = by_double_backward(D, x)[2]
    seen.clear()
    for _ in range(2):
        outcome = linearise(D, leaves(x))
        loss_of(outcome.logits, outcome.gradients).backward()
    assert len(seen) == 2
    torch.testing.assert_close(D[0].weight.grad, 2 * want["0.weight"])
    torch.testing.assert_close(D[3].weight.grad, 2 * want["3.weight"])


class Wrapped(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)


@pytest.mark.parametrize("wrap", [Wrapped, nn.DataParallel, lambda D: lambda x: D(x)])
def test_wrappers(wrap):
    D, x = plain()
    want = by_double_backward(D, x)[2]
    outcome = linearise(wrap(D), leaves(x))
    got = parameter_gradients(D, loss_of(outcome.logits, outcome.gradients))
    assert max(relative_errors(got, want).values()) < 1e-12


def test_forward_hooks_are_part_of_the_critic():
    D, x = plain()
    D[1].register_forward_hook(lambda module, args, y: 2 * y)
    D[0].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    assert assert_exact(D, x)


def test_main_loss_alone_and_penalty_alone():
    D, x = plain()

    def differentiated():
        (leaf,) = leaves(x)
        logits = D(leaf)
        return logits, torch.autograd.grad(logits.sum(), leaf, create_graph=True)

    for part in ("logits", "gradients"):
        grads = []
        for run in (
            lambda: linearise(D, leaves(x))[:2],
            differentiated,
        ):
            logits, g = run()
            loss = logits.square().sum() if part == "logits" else g[0].square().sum()
            grads.append(parameter_gradients(D, loss))
        assert max(relative_errors(*grads).values()) < 1e-12


def test_two_backwards_need_retain_graph():
    D, x = plain()
    logits, g, _ = linearise(D, leaves(x))
    loss = loss_of(logits, g)
    first = torch.autograd.grad(loss, list(D.parameters()), retain_graph=True)
    again = torch.autograd.grad(loss, list(D.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, list(D.parameters()))


def test_a_third_order_is_refused():
    D, x = plain()
    penalty = r1(D, x, method="linearised")
    with pytest.raises(NotImplementedError, match=r"differentiable once.*double_backward"):
        torch.autograd.grad(penalty.sum(), list(D.parameters()), create_graph=True)


def test_weights_that_change_before_backward_are_noticed():
    D, x = plain()
    penalty = r1(D, x, method="linearised")
    with torch.no_grad():
        D[3].weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        penalty.sum().backward()


def test_auto_is_linearised_where_that_pays_and_says_the_same():
    torch.manual_seed(0)
    D = nn.Sequential(nn.Linear(64, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1)).double()
    small, large = (torch.randn(n, 64, dtype=torch.float64) for n in (4, 4096))
    with use_threads(1):
        for x, used in ((small, "double"), (large, "linearised"), (small, "double")):
            penalty = r1(D, x)
            assert is_linearised(penalty) == (used == "linearised")
            torch.testing.assert_close(penalty, r1(D, x, method="double_backward"))
            assert worth_trying(D, (x,)) == (used == "linearised")
        assert is_linearised(r1(D, small, method="linearised"))
        assert not is_linearised(r1(lambda x: D(x), small))


def is_linearised(penalty):
    return type(penalty.grad_fn.next_functions[0][0]).__name__ == "_CriticBackward"


@contextlib.contextmanager
def use_threads(n):
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Copies(TorchDispatchMode):
    """Counts operators that move memory without computing."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in ("copy_", "clone", "_to_copy", "contiguous"):
            self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_layout_is_kept(layout):
    torch.manual_seed(0)
    D = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 3), nn.LeakyReLU(0.2))
    D = nn.Sequential(D, nn.Conv2d(8, 1, 12)).to(memory_format=layout)
    x = torch.randn(4, 3, 16, 16).contiguous(memory_format=layout)
    outcome = linearise(D, [x.detach().requires_grad_()])
    assert outcome.gradients[0].is_contiguous(memory_format=layout)
    loss = loss_of(outcome.logits, outcome.gradients)
    with Copies() as copies:
        loss.backward()
    assert copies.seen == []


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
