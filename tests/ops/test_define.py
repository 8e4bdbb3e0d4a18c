# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan.losses.gradient_penalty import r1
from fastgan.ops import _backend, _define, bias_act, noise_bias_act


@pytest.fixture
def define(monkeypatch):
    """define_op for ops of this file, which stay out of the list of fastgan's own."""
    monkeypatch.delenv("FASTGAN_REQUIRE_NATIVE", raising=False)
    monkeypatch.setattr(_backend, "_ops", [])
    return _define.define_op


def test_the_last_rung_refuses_by_name(define):
    op = define("tests_cube(Tensor x) -> Tensor", reference=lambda x: x**3, fake=torch.empty_like)
    assert _backend.defined_ops() == ("tests_cube",)
    x = torch.tensor([2.0], requires_grad=True)
    y = op(x)
    assert y.tolist() == [8.0]
    with pytest.raises(NotImplementedError, match=r"fastgan::tests_cube is not differentiable "
                       r"again.*use_backend\('reference'\)"):  # fmt: skip
        y.backward()


def test_a_ladder_ends_in_words_not_in_none(define):
    """A backward op without a derivative of its own must not pass for a constant."""
    top = define(
        "tests_square_backward(Tensor dy, Tensor x) -> Tensor",
        reference=lambda dy, x: 2 * dy * x,
        fake=lambda dy, x: torch.empty_like(x),
    )
    op = define(
        "tests_square(Tensor x) -> Tensor",
        reference=lambda x: x**2,
        fake=torch.empty_like,
        backward=lambda ctx, dy: top(dy, *ctx.saved_tensors),
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    )
    x = torch.tensor([3.0], requires_grad=True)
    (dx,) = torch.autograd.grad(op(x), x, create_graph=True)
    assert dx.tolist() == [6.0]
    with pytest.raises(NotImplementedError, match="fastgan::tests_square_backward"):
        dx.backward()


def test_the_reference_keeps_its_dtype_under_autocast(define):
    op = define("tests_mm(Tensor x) -> Tensor", reference=lambda x: x @ x, fake=torch.empty_like)
    with torch.autocast("cpu", torch.bfloat16):
        assert op(torch.ones(2, 2)).dtype == torch.float32


class BiasReductions(TorchDispatchMode):
    """Counts bias_act_backward calls with and without the reduction to db."""

    def __init__(self):
        super().__init__()
        self.with_db = self.without_db = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.fastgan.bias_act_backward.default:
            if args[-1]:
                self.with_db += 1
            else:
                self.without_db += 1
        return func(*args, **(kwargs or {}))


class Critic(torch.nn.Module):
    def __init__(self, act="lrelu"):
        super().__init__()
        self.act = act
        self.w = torch.nn.ParameterList(torch.randn(4, 4) for _ in range(3))
        self.b = torch.nn.ParameterList(torch.randn(4) for _ in range(3))

    def forward(self, x):
        for w, b in zip(self.w, self.b, strict=True):
            x = bias_act(x @ w, b, act=self.act)
        return x


def test_the_main_backward_reduces_the_bias_once_per_layer():
    D = Critic()
    with BiasReductions() as count:
        D(torch.randn(2, 4)).sum().backward()
    assert (count.with_db, count.without_db) == (3, 0)
    assert all(b.grad.abs().sum() > 0 for b in D.b)


@pytest.fixture(params=["large", "small"])
def is_large(request, monkeypatch):
    """Whether the tensors count as large enough for asking the engine about a sum."""
    if request.param == "large":
        monkeypatch.setattr(_define, "_FEW_ELEMENTS", 0)
    return request.param == "large"


@pytest.mark.parametrize("act", ["lrelu", "swish"])
def test_the_inner_pass_of_r1_reduces_no_bias_that_is_worth_asking_for(act, is_large):
    D = Critic(act)
    with BiasReductions() as inner:
        penalty = r1(D, torch.randn(2, 4))
    assert (inner.with_db, inner.without_db) == ((0, 3) if is_large else (3, 0))
    with BiasReductions() as outer:
        penalty.sum().backward()
    assert outer.with_db == 0 if act == "lrelu" else outer.with_db > 0
    assert all(w.grad.abs().sum() > 0 for w in D.w)
    is_curved = act == "swish"
    assert all((b.grad is not None and b.grad.abs().sum() > 0) == is_curved for b in D.b)


def test_a_frozen_bias_is_not_reduced():
    b = torch.zeros(4)
    x = torch.randn(2, 4, requires_grad=True)
    with BiasReductions() as count:
        bias_act(x, b, act="lrelu").sum().backward()
    assert (count.with_db, count.without_db) == (0, 1)


@pytest.mark.parametrize("is_leaf", [True, False], ids=["leaf", "product"])
@pytest.mark.parametrize("way", ["grad", "grad of both", "backward", "backward inputs"])
def test_a_wanted_bias_gradient_always_comes(way, is_leaf, is_large):
    """By every road, also where the engine refuses to be asked (a leaf of autograd.grad)."""
    x = torch.randn(3, 4, requires_grad=True)
    leaf = torch.randn(4, requires_grad=True)
    b = leaf if is_leaf else 2 * leaf
    y = bias_act(x, b, act="relu", gain=1.0)
    want = ((x + b) > 0).float().sum(0)
    if way == "grad":
        (db,) = torch.autograd.grad(y.sum(), b)
    elif way == "grad of both":
        _, db = torch.autograd.grad(y.sum(), [x, b])
    else:
        y.sum().backward(inputs=[leaf] if way == "backward inputs" else None)
        db = leaf.grad / (1 if is_leaf else 2)
    torch.testing.assert_close(db, want)


def test_a_bias_used_twice(device):
    """Reached by two paths, of which an inner pass needs none."""
    x = torch.randn(3, 4, device=device, requires_grad=True)
    b = torch.randn(4, device=device, requires_grad=True)
    y = bias_act(bias_act(x, b, act="tanh"), b, act="tanh")
    (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    dx.square().sum().backward()
    want_b = b.detach().requires_grad_()
    want_y = torch.tanh(torch.tanh(x + want_b) + want_b)
    (want_dx,) = torch.autograd.grad(want_y.sum(), x, create_graph=True)
    (want,) = torch.autograd.grad(want_dx.square().sum(), want_b)
    torch.testing.assert_close(b.grad, want)


def test_a_wanted_gradient_after_an_absent_tensor(device):
    """The engine's list of inputs has no place for an optional tensor that is None."""
    x = torch.randn(2, 3, 4, device=device, requires_grad=True)
    b = torch.randn(3, device=device, requires_grad=True)
    middle = b * 2  # not a leaf: the engine is asked about its node
    y = noise_bias_act(x, None, None, None, middle, act="lrelu")
    (db,) = torch.autograd.grad(y.sum(), b)
    want = torch.where(x + 2 * b.reshape(1, 3, 1) > 0, 1.0, 0.2) * 2**0.5 * 2
    torch.testing.assert_close(db, want.sum((0, 2)).detach())


def test_a_schema_with_a_tensor_behind_another_argument_is_refused(define):
    with pytest.raises(TypeError, match="tests_late: tensors must come before other arguments"):
        define(
            "tests_late(int n, Tensor x) -> Tensor",
            reference=lambda n, x: n * x,
            fake=lambda n, x: torch.empty_like(x),
        )
