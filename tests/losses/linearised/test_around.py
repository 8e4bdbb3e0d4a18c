# SPDX-License-Identifier: Apache-2.0
"""`linearised` and what changes between or around two calls: nothing of D is remembered."""

import contextlib

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
)
from torch import nn

from fastgan.losses.gradient_penalty import r1
from fastgan.losses.linearised import linearise, worth_trying

pytestmark = pytest.mark.any_backend  # critics of torch's own layers


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


def test_the_dropout_of_cuda(on_device):
    """One operator there; a CPU has it too, but nn.Dropout does not call it."""
    torch.manual_seed(6)
    first, last = nn.Linear(6, 50).double(), nn.Linear(50, 1).double()
    for p in (0.5, 1.0):
        D = FixedDropout(first, last, p)
        x = torch.randn(3, 6, dtype=torch.float64)
        torch.manual_seed(5)
        want = by_double_backward(D, x)[2]
        torch.manual_seed(5)
        got = by_linearising(D, x)[2]
        assert max(relative_errors(got, want).values()) < 1e-12


class FixedDropout(nn.Module):
    def __init__(self, first, last, p):
        super().__init__()
        self.first, self.last, self.p = first, last, p

    def forward(self, x):
        return self.last(torch.native_dropout(self.first(x).relu(), self.p, True)[0])


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
    if wrap is nn.DataParallel and x.is_cuda:  # it scatters x: "auto" takes double backward
        assert "autograd.Function" in outcome.reason
        return
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


def test_auto_is_linearised_where_that_pays_and_says_the_same(device):
    torch.manual_seed(0)
    D = nn.Sequential(nn.Linear(64, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1)).double()
    small, large = (torch.randn(n, 64, dtype=torch.float64) for n in (4, 4096))
    on_small = "double" if device.type == "cpu" else "linearised"  # fewer launches
    with use_threads(1):
        for x, used in ((small, on_small), (large, "linearised"), (small, on_small)):
            penalty = r1(D, x)
            assert is_linearised(penalty) == (used == "linearised")
            torch.testing.assert_close(penalty, r1(D, x, method="double_backward"))
            assert worth_trying(D, (x,)) == (used == "linearised")
        assert is_linearised(r1(D, small, method="linearised"))
        assert is_linearised(r1(lambda x: D(x), small)) == (on_small == "linearised")


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


def test_a_compiled_function_hidden_in_the_critic_runs_uncompiled():
    """torch.compile steps aside under a dispatch mode: no second derivative is lost in it."""
    torch.compiler.reset()
    D, x = plain()
    body = torch.compile(D[:2], backend="aot_eager")

    def critic(x):
        return D[2:](body(x))

    want = by_double_backward(D, x)[2]
    critic(*leaves(x)).sum().backward()  # compiled by now
    outcome = linearise(critic, leaves(x))
    got = parameter_gradients(D, loss_of(outcome.logits, outcome.gradients))
    assert max(relative_errors(got, want).values()) < 1e-12
