# SPDX-License-Identifier: Apache-2.0
import copy

import pytest
import torch
from torch import nn

from fastgan.training.optim.flat_adam import FlatAdam


def make_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 9, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(108, 5))


def descend(net, optimizer, first, count):
    for i in range(first, first + count):
        optimizer.zero_grad()
        x = torch.randn(4, 2, 6, 5, generator=torch.Generator().manual_seed(i))
        net(x).square().mean().backward()
        optimizer.step()


def assert_alike(net, other):
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        # a few roundings a step, each of the size of the update: lr times eps
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


BETAS = [(0, 0.99), (0.5, 0.9), (0.9, 0.999)]


@pytest.mark.parametrize("betas", BETAS)
def test_steps_are_those_of_torch_adam(betas):
    ours, theirs = make_net(), make_net()
    mine = FlatAdam(ours, lr=0.01, betas=betas)
    descend(ours, mine, 0, 12)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, betas=tuple(map(float, betas)))
    descend(theirs, adam, 0, 12)
    assert_alike(ours, theirs)
    assert (mine.steps == 12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_changing_beta2_is_torch_adam_whose_betas_are_set_before_each_step(dtype):
    ours, theirs = make_net().to(dtype), make_net().to(dtype)
    mine = FlatAdam(ours, lr=0.01, betas=(0.5, 0.9), has_changing_beta2=True)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, betas=(0.5, 0.9))
    torch.set_default_dtype(dtype)  # of descend's inputs
    try:
        for i in range(12):
            beta2 = 0.3 + 0.05 * i
            mine.param_groups[0]["beta2"].fill_(beta2)
            adam.param_groups[0]["betas"] = (0.5, beta2)
            descend(ours, mine, i, 1)
            descend(theirs, adam, i, 1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_alike(ours, theirs)
    assert mine.to_torch_state_dict()["param_groups"][0]["betas"] == pytest.approx((0.5, 0.85))


def test_a_beta2_on_the_device_that_does_not_change_gives_the_same_bits():
    nets = make_net(), make_net()
    for net, is_changing in zip(nets, (False, True), strict=True):
        adam = FlatAdam(net, lr=0.01, betas=(0.0, 0.99), has_changing_beta2=is_changing)
        descend(net, adam, 0, 6)
    for p, q in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("betas", BETAS)
def test_a_state_of_torch_goes_on_here_and_back(betas):
    """6 + 6 steps with a conversion between them, in both directions, are 12 steps of torch's."""
    betas = tuple(map(float, betas))
    whole, first, second = make_net(), make_net(), make_net()
    adams = {net: torch.optim.Adam(net.parameters(), lr=0.01, betas=betas, fused=True)
             for net in (whole, first)}  # fmt: skip
    descend(whole, adams[whole], 0, 12)

    descend(first, adams[first], 0, 6)
    mine = FlatAdam(first, lr=0.5)
    mine.from_torch_state_dict(adams[first].state_dict())
    descend(first, mine, 6, 6)
    assert_alike(first, whole)

    mine = FlatAdam(second, lr=0.01, betas=betas)
    descend(second, mine, 0, 6)
    back = copy.deepcopy(second)
    adam = torch.optim.Adam(back.parameters())
    adam.load_state_dict(mine.to_torch_state_dict())
    descend(back, adam, 6, 6)
    assert_alike(back, whole)


def test_there_and_back_is_exact():
    net = make_net()
    mine = FlatAdam(net, lr=0.01, betas=(0, 0.99), eps=1e-6)
    descend(net, mine, 0, 3)
    saved = mine.to_torch_state_dict()
    other = FlatAdam(make_net())
    other.from_torch_state_dict(saved)
    for name in ("exp_avg", "exp_avg_sq", "steps"):
        assert torch.equal(getattr(other, name), getattr(mine, name))
    assert other.param_groups[0]["lr"] == mine.param_groups[0]["lr"]
    assert other.param_groups[0]["betas"] == (0.0, 0.99)
    assert other.param_groups[0]["eps"] == 1e-6
    mine.exp_avg_sq.zero_()
    assert saved["state"][0]["exp_avg_sq"].any()  # a copy


def test_a_parameter_without_an_entry_starts_at_zero_and_the_largest_step_counts():
    net = make_net()
    adam = torch.optim.Adam(net.parameters())
    net[3].requires_grad_(False)
    descend(net, adam, 0, 4)
    net[3].requires_grad_(True)
    mine = FlatAdam(net)
    mine.exp_avg.fill_(3.0)
    mine.from_torch_state_dict(adam.state_dict())
    assert not mine.state[net[3].weight]["exp_avg"].any()
    assert mine.state[net[0].weight]["exp_avg"].any()
    assert mine.steps.tolist() == [4, 4, 0, 0]
    descend(net, mine, 4, 1)
    assert mine.steps.tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["param_groups"][0].update(amsgrad=True), "amsgrad is on"),
        (lambda s: s["param_groups"][0].update(weight_decay=0.1), "weight_decay is on"),
        (lambda s: s["param_groups"][0]["params"].pop(), "expected 4 parameters, got 3"),
        (lambda s: s["state"][0].update(exp_avg=torch.ones(2)), r"exp_avg of 0\.weight must"),
        (lambda s: s["param_groups"].append(dict(s["param_groups"][0], params=[], lr=9.0)),
         "the groups differ in lr"),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, message):
    net = make_net()
    mine = FlatAdam(net)
    descend(net, mine, 0, 1)
    before = mine.exp_avg.clone()
    saved = mine.to_torch_state_dict()
    change(saved)
    with pytest.raises(ValueError, match=message):
        mine.from_torch_state_dict(saved)
    assert torch.equal(mine.exp_avg, before)


def test_no_gradient_is_a_gradient_of_zero():
    """Unlike torch.optim.Adam, which would leave the parameter out: see the module's docstring."""
    net = make_net()
    mine = FlatAdam(net, lr=0.01, betas=(0.5, 0.9))
    descend(net, mine, 0, 1)
    last = net[3].weight
    moments = [mine.state[last][key].clone() for key in ("exp_avg", "exp_avg_sq")]
    before = last.detach().clone()
    mine.zero_grad()
    net[0](torch.ones(1, 2, 3, 3)).sum().backward()
    mine.step()
    assert torch.equal(mine.state[last]["exp_avg"], moments[0] * 0.5)
    torch.testing.assert_close(mine.state[last]["exp_avg_sq"], moments[1] * 0.9)
    assert not torch.equal(last, before)


def test_the_average_is_moved_in_the_same_pass():
    net = make_net()
    average = copy.deepcopy(net).requires_grad_(False)
    mine = FlatAdam(net, lr=0.1, average=average)
    start = [p.clone() for p in average.parameters()]
    descend(net, mine, 0, 1)
    assert all(torch.equal(p, q) for p, q in zip(average.parameters(), start, strict=True))
    mine.zero_grad()
    net(torch.ones(1, 2, 6, 5)).sum().backward()
    mine.step(ema_weight=torch.tensor(0.25))
    for p, q, old in zip(average.parameters(), net.parameters(), start, strict=True):
        torch.testing.assert_close(p, old + 0.25 * (q - old))
    average[0].weight.data = average[0].weight.data.clone()
    with pytest.raises(RuntimeError, match=r"0\.weight of the average no longer lies"):
        mine.step(ema_weight=torch.tensor(0.25))
    with pytest.raises(ValueError, match="needs an average"):
        FlatAdam(make_net()).step(ema_weight=torch.tensor(0.25))


def test_autograd_knows_that_a_step_changed_the_weights():
    net = make_net()
    mine = FlatAdam(net)
    loss = net(torch.ones(1, 2, 6, 5)).square().sum()
    loss.backward(retain_graph=True)
    mine.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
