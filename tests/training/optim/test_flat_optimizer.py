# SPDX-License-Identifier: Apache-2.0
"""What all optimisers share, by AdamW and RMSprop; their steps against torch's."""

import copy

import pytest
import torch
from torch import nn

from fastgan.training.optim.flat_adam import FlatAdam
from fastgan.training.optim.flat_rmsprop import FlatRMSprop

ADAMW = {"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-6, "weight_decay": 0.3}
RMSPROP = {"lr": 0.01, "alpha": 0.9, "eps": 1e-6}
KINDS = [
    pytest.param(FlatAdam, torch.optim.AdamW, ADAMW, id="adamw"),
    pytest.param(FlatRMSprop, torch.optim.RMSprop, RMSPROP, id="rmsprop"),
]


def make_net(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 5)).to(dtype)


def descend(net, optimizer, first, count):
    dtype = net[0].weight.dtype
    for i in range(first, first + count):
        optimizer.zero_grad()
        x = torch.randn(4, 7, generator=torch.Generator().manual_seed(i), dtype=dtype)
        net(x).square().mean().backward()
        optimizer.step()


def assert_alike(net, other):
    is_wide = net[0].weight.dtype == torch.float64
    limits = {"rtol": 1e-13, "atol": 1e-15} if is_wide else {"rtol": 1e-6, "atol": 1e-7}
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, **limits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("ours", "theirs", "numbers"), KINDS)
def test_steps_are_those_of_torch(ours, theirs, numbers, dtype):
    net, other = make_net(dtype), make_net(dtype)
    mine, reference = ours(net, **numbers), theirs(other.parameters(), **numbers)
    for first, lr in ((0, 0.01), (6, 0.002)):  # a rate that the host writes between two steps
        mine.param_groups[0]["lr"].fill_(lr)
        reference.param_groups[0]["lr"] = lr
        descend(net, mine, first, 6)
        descend(other, reference, first, 6)
    assert_alike(net, other)
    assert (mine.steps == 12).all()


@pytest.mark.parametrize(("ours", "theirs", "numbers"), KINDS)
def test_a_state_of_torch_goes_on_here_and_back(ours, theirs, numbers):
    whole, net = make_net(), make_net()
    reference = theirs(whole.parameters(), **numbers)
    first = theirs(net.parameters(), **numbers)
    descend(whole, reference, 0, 9)
    descend(net, first, 0, 3)
    mine = ours(net, lr=0.5)
    mine.from_torch_state_dict(first.state_dict())
    assert mine.param_groups[0]["lr"].item() == numbers["lr"] == mine.param_groups[0]["base_lr"]
    descend(net, mine, 3, 3)
    back = copy.deepcopy(net)
    last = theirs(back.parameters())
    last.load_state_dict(mine.to_torch_state_dict())
    descend(back, last, 6, 3)
    assert_alike(back, whole)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("ours", "theirs", "numbers"), KINDS)
def test_a_gradient_that_is_not_finite_changes_no_bit(ours, theirs, numbers, bad):
    net = make_net(torch.float32)
    mine = ours(net, average=copy.deepcopy(net).requires_grad_(False), **numbers)
    descend(net, mine, 0, 2)

    def bits():
        kept = (mine.flat.values, *mine.state_buffers(), mine.ema, mine.steps)
        return [tensor.clone() for tensor in kept]

    before = bits()
    mine.flat.gradients.fill_(0.5)
    net[2].bias.grad[-2:] = bad
    mine.step(torch.tensor(0.25))
    assert all(torch.equal(a, b) for a, b in zip(bits(), before, strict=True))
    assert mine.nonfinite.item() == 2
    mine.flat.gradients.fill_(0.5)
    mine.step(torch.tensor(0.25))
    assert not any(torch.equal(a, b) for a, b in zip(bits(), before, strict=True))
    assert mine.nonfinite.item() == 2
    assert (mine.steps == 3).all()


@pytest.mark.parametrize(("ours", "theirs", "numbers"), KINDS)
def test_the_average_moves_toward_the_new_parameters(ours, theirs, numbers):
    net = make_net()
    average = copy.deepcopy(net).requires_grad_(False)
    mine = ours(net, average=average, **numbers)
    start = [p.clone() for p in average.parameters()]
    descend(net, mine, 0, 1)
    assert all(torch.equal(p, q) for p, q in zip(average.parameters(), start, strict=True))
    mine.step(torch.tensor(0.25))
    for p, q, old in zip(average.parameters(), net.parameters(), start, strict=True):
        torch.testing.assert_close(p, old + 0.25 * (q - old))


@pytest.mark.parametrize(("ours", "theirs", "numbers"), KINDS)
def test_the_zeros_between_two_parameters_stay(ours, theirs, numbers):
    net = make_net()
    mine = ours(net, **numbers)
    descend(net, mine, 0, 2)
    used = torch.zeros_like(mine.flat.values, dtype=torch.bool)
    for view in mine.flat.views(used):
        view.fill_(True)
    assert not used.all()
    for buffer in (mine.flat.values, *mine.state_buffers()):
        assert not buffer[~used].any()


@pytest.mark.parametrize(
    ("ours", "change", "message"),
    [
        (FlatAdam, {"decoupled_weight_decay": False}, "weight_decay without decoupled"),
        (FlatRMSprop, {"momentum": 0.9}, "momentum is on"),
        (FlatRMSprop, {"centered": True}, "centered is on"),
        (FlatRMSprop, {"weight_decay": 0.1}, "weight_decay is on"),
    ],
)
def test_what_the_update_has_not_is_refused(ours, change, message):
    mine = ours(make_net(), **(ADAMW if ours is FlatAdam else RMSPROP))
    saved = mine.to_torch_state_dict()
    mine.from_torch_state_dict(saved)
    saved["param_groups"][0].update(change)
    with pytest.raises(ValueError, match=rf"{ours.__name__}\.from_torch_state_dict: {message}"):
        mine.from_torch_state_dict(saved)


def test_the_state_of_another_algorithm_is_refused():
    adam = FlatAdam(make_net()).to_torch_state_dict()
    with pytest.raises(ValueError, match="the groups have no alpha; the state must be of torch's"):
        FlatRMSprop(make_net()).from_torch_state_dict(adam)
