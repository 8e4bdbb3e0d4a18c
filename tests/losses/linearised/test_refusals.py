# SPDX-License-Identifier: Apache-2.0
"""What `linearised` refuses, in which words, and that "auto" then is double backward."""

import copy

import pytest
import torch
import torch.nn.functional as F
from linearised_critics import leaves, parameter_gradients
from torch import nn

from fastgan.losses.gradient_penalty import logits_and_penalty, penalty_of_logits, r1
from fastgan.losses.linearised import linearise, worth_trying
from fastgan.losses.linearised.tape import _RULES
from fastgan.models import load_architecture
from fastgan.nn import EqualLinear
from fastgan.ops import attention, minibatch_stddev, modulate, noise_bias_act
from fastgan.ops._backend import defined_ops


class Reversed(torch.autograd.Function):
    """The identity, with a backward pass of its own."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, dy):
        return -dy


class Doubled(torch.autograd.Function):
    """Leaves torch on its way."""

    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(2 * x.detach().cpu().numpy()).to(x.device)

    @staticmethod
    def backward(ctx, dy):
        return 2 * dy


class Critic(nn.Module):
    """Linear → what is under test → Linear, of [N, 6]."""

    def __init__(self, between):
        super().__init__()
        self.first, self.between, self.out = nn.Linear(6, 6), between, nn.LazyLinear(1)
        self.norm, self.layer_norm = nn.BatchNorm1d(6), nn.LayerNorm(6)
        self.w = nn.Parameter(torch.ones(6))
        self.act = nn.Tanh()
        self.styled = EqualLinear(6, 6, activation="swish")

    def forward(self, x):
        return self.out(self.between(self, self.first(x)))


def hooked(D, h):
    h.register_hook(lambda g: 2 * g)
    return h


def hooked_module(D, h):
    handle = D.w.new_empty(0)
    layer = nn.ReLU()
    layer.register_full_backward_hook(lambda module, dx, dy: (2 * dx[0],))
    return layer(h) + handle.sum()


def written(D, h):
    out = torch.zeros(h.shape[0], 8, dtype=h.dtype)
    out[:, :6] = h
    return out


def written_view(D, h):
    h = h * 1
    h[:, :2].mul_(3)
    return h


def written_without_grad(D, h):
    h = h * 1
    with torch.no_grad():
        h.mul_(2)
    return h


REFUSED = {
    "tanh": (lambda D, h: D.act(h), r"aten::tanh is not known to be piecewise linear, in Tanh, "),
    "sigmoid": (lambda D, h: h.sigmoid(), r"aten::sigmoid is not known .* in Critic, te.*:\d"),
    "softplus": (lambda D, h: F.softplus(h), "aten::softplus is not known to be piecewise linear"),
    "gelu": (lambda D, h: F.gelu(h), "aten::gelu is not known to be piecewise linear"),
    "bias_act": (lambda D, h: D.styled(h), r"fastgan::bias_act with act='swish'.* in EqualLinear"),
    "square": (lambda D, h: h * h, "aten::mul.Tensor multiplies two values that both depend on x"),
    "quotient": (lambda D, h: h / (1 + h.abs()), "aten::div.Tensor multiplies two values"),
    "reciprocal": (lambda D, h: D.w / h, "aten::div.Tensor divides by a value that depends on x"),
    "power": (lambda D, h: h**2, "aten::pow.Tensor_Scalar is not known"),
    "batch norm": (lambda D, h: D.norm(h), r"native_batch_norm normalises .* in BatchNorm1d"),
    "layer norm": (lambda D, h: D.layer_norm(h), r"native_layer_norm normalises .* in LayerNorm"),
    "attention": (lambda D, h: (h[:, :, None] @ h[:, None]).softmax(2).flatten(1),
                  "aten::bmm multiplies two values"),
    "softmax": (lambda D, h: h.softmax(1), "aten::_softmax is attention"),
    "attention op": (lambda D, h: attention(*[h.unsqueeze(2)] * 3).flatten(1),
                     r"fastgan::attention is attention, in Critic, test_refusals\.py:\d"),
    "stddev": (lambda D, h: minibatch_stddev(h), r"fastgan::minibatch_stddev normalises .* Critic"),
    "noise": (lambda D, h: noise_bias_act(h, None, 2 * D.w[None, :1]),
              "fastgan::noise_bias_act adds noise that takes a gradient"),
    "style": (lambda D, h: modulate(D.w.expand(4, 6), h),
              "fastgan::modulate multiplies by factors that depend on x"),
    "own backward": (lambda D, h: Reversed.apply(h), "autograd.Function of its own"),
    "out of torch": (lambda D, h: Doubled.apply(h), "autograd.Function of its own"),
    "own backward, added": (lambda D, h: h + Doubled.apply(h), "autograd.Function of its own"),
    "gradient hook": (hooked, "reads a value with a gradient hook"),
    "backward hook": (hooked_module, "a backward hook of a module"),
    "written elsewhere": (written, "writes values that depend on x into another tensor"),
    "written in part": (written_view, "writes into memory that other values share"),
    "written without grad": (written_without_grad, "writes into memory that other values share"),
    "written after use": (lambda D, h: F.leaky_relu(h, 0.2).mul_(2),
                          "D writes into a value that its backward pass needs"),
    "norm": (lambda D, h: h / h.norm(), "aten::linalg_vector_norm normalises"),
}  # fmt: skip


def build(name):
    torch.manual_seed(0)
    D = Critic(REFUSED[name][0]).double()
    x = torch.randn(4, 6, dtype=torch.float64)
    D(x)  # the lazy layer takes its shape
    return D, x


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name):
    D, x = build(name)
    outcome = linearise(D, leaves(x))
    assert outcome.gradients is None
    with pytest.raises(NotImplementedError, match=REFUSED[name][1]) as error:
        r1(D, x, method="linearised")
    assert "gradient_norm_penalty: method='linearised' needs a critic" in str(error.value)
    assert "use method='auto' or 'double_backward'" in str(error.value)


@pytest.mark.parametrize("name", REFUSED)
def test_auto_is_double_backward_bit_by_bit(name):
    D, x = build(name)
    D.norm.reset_running_stats()
    twin = copy.deepcopy(D)
    for _ in range(2):  # the second time it is known
        got, want = r1(D, x), r1(twin, x, method="double_backward")
        assert torch.equal(got, want)
        mine, theirs = parameter_gradients(D, got.sum()), parameter_gradients(twin, want.sum())
        assert all(torch.equal(mine[k], theirs[k]) for k in theirs)
        assert not worth_trying(D, (x,))
    for (key, mine), theirs in zip(D.named_buffers(), twin.buffers(), strict=True):
        assert torch.equal(mine, theirs), key


@pytest.mark.parametrize("name", ["tanh", "batch norm"])
def test_a_refused_forward_pass_serves_the_main_loss_and_double_backward(name):
    D, x = build(name)
    D.norm.reset_running_stats()
    twin = copy.deepcopy(D)
    for _ in range(2):
        logits, penalty = logits_and_penalty(D, x)
        (leaf,) = leaves(x)
        want = twin(leaf)  # once
        theirs = penalty_of_logits(want, leaf)
        assert torch.equal(logits, want)
        assert torch.equal(penalty, theirs)
        mine = parameter_gradients(D, logits.square().sum() + penalty.sum())
        theirs = parameter_gradients(twin, want.square().sum() + theirs.sum())
        assert all(torch.equal(mine[k], theirs[k]) for k in theirs)
    for (key, mine), theirs in zip(D.named_buffers(), twin.buffers(), strict=True):
        assert torch.equal(mine, theirs), key


def test_batch_norm_is_tried_again_in_another_mode():
    D, x = build("batch norm")
    r1(D, x)
    assert not worth_trying(D, (x,))
    D.eval()
    assert worth_trying(D, (x,))


@pytest.mark.parametrize("architecture", ["stylegan2", "light_skip_gan"])
def test_critics_with_minibatch_stddev(architecture):
    module = load_architecture(architecture)
    base = {"channel_base": 64} if architecture == "stylegan2" else {"d_channel_base": 64}
    D = module.Discriminator(module.Config(img_height=8, img_width=8, **base))
    x = torch.randn(4, 3, 8, 8)
    with pytest.raises(NotImplementedError, match=r"minibatch_stddev .* in MinibatchStddev, std"):
        r1(D, x, method="linearised")
    want = r1(D, x, method="double_backward")
    assert torch.equal(r1(D, x), want)


ODD = {
    "ignores x": (lambda x: torch.ones(3, 1, requires_grad=True) * 2, "does not depend on x"),
    "detached": (lambda x: x.detach(), "does not depend on x"),
    "itself": (lambda x: x, "D returns its input"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_critics(name):
    critic, words = ODD[name]
    with pytest.raises(NotImplementedError, match=words):
        r1(critic, torch.randn(3, 2), method="linearised")


def test_an_output_of_another_form_takes_the_other_method():
    def critic(x):
        return [2 * x.relu()]

    with pytest.raises(NotImplementedError, match="D returns list, expected one tensor"):
        logits_and_penalty(critic, torch.randn(3, 2), method="linearised")
    logits, penalty = logits_and_penalty(critic, torch.ones(3, 2))
    assert logits[0].shape == (3, 2)
    torch.testing.assert_close(penalty, torch.full([3], 8.0))


def test_an_empty_batch():
    D = nn.Linear(3, 1)
    assert r1(D, torch.zeros(0, 3)).shape == (0,)
    with pytest.raises(NotImplementedError, match="the inputs are empty"):
        r1(D, torch.zeros(0, 3), method="linearised")
    assert worth_trying(D, (torch.zeros(2, 3),))  # which says nothing of D


@pytest.mark.parametrize("method", ["auto", "linearised", "double_backward"])
@pytest.mark.parametrize("run", [r1, logits_and_penalty])
def test_a_compiled_critic_is_refused_by_name(run, method):
    inner = torch.compile(nn.Linear(3, 1), backend="eager")
    for D in (inner, nn.Sequential(inner)):
        with pytest.raises(NotImplementedError, match=r"is compiled by torch\.compile"):
            run(D, torch.randn(2, 3), method=method)


def test_method_is_checked():
    with pytest.raises(ValueError, match=r"logits_and_penalty: method must be one of auto, lin"):
        logits_and_penalty(nn.Linear(3, 1), torch.randn(2, 3), method="exact")


# Those that have no rule: nonlinear in each operand, or not made for maps.
NOT_LINEAR = {"anti_aliased_snake", "attention", "channel_dot", "demodulation", "gradient_penalty",
              "minibatch_stddev"}  # fmt: skip
OF_CONSTANTS = ("sample_", "augment_")  # take no values that depend on x
DERIVATIVES = ("_backward", "_masked", "_weight")  # of another one


def test_every_operator_of_fastgan_has_a_rule_or_is_known_to_be_nonlinear():
    forward = {
        name
        for name in defined_ops()
        if not name.startswith(OF_CONSTANTS) and not name.endswith((*DERIVATIVES, "_"))
    }
    ruled = {func._opname for func in _RULES if func.namespace == "fastgan"}
    assert forward - ruled == NOT_LINEAR, "write a rule, or list it here and in the docstring"
    assert not ruled & NOT_LINEAR
