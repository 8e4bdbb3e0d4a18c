# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from fastgan.training.optim.flat_parameters import ALIGNMENT, FlatParameters


def make_net(dtype=torch.float32):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5 * 4 * 3, 7)
    ).to(dtype)
    return net.to(memory_format=torch.channels_last)


X = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_strides_and_gradients_are_the_modules_own(dtype):
    net, plain = make_net(dtype), make_net(dtype)
    flat = FlatParameters(net)
    x = X.to(dtype)
    for module in (net, plain):
        module(x).square().sum().backward()
        module(x).sum().backward()
    for (name, p), q in zip(net.named_parameters(), plain.parameters(), strict=True):
        assert p.stride() == q.stride(), name
        assert torch.equal(p, q), name
        assert p.grad.stride() == q.grad.stride(), name
        assert torch.equal(p.grad, q.grad), name
        assert p.data_ptr() % (ALIGNMENT * p.element_size()) == flat.values.data_ptr() % (
            ALIGNMENT * p.element_size()
        )
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    flat.check()


def test_one_buffer_holds_everything_and_zero_between():
    net = make_net()
    flat = FlatParameters(net)
    total = sum(p.double().sum().item() for p in net.parameters())
    assert total == pytest.approx(flat.values.double().sum().item())
    flat.gradients.fill_(3.0)
    assert all((p.grad == 3).all() for p in net.parameters())
    flat.zero()
    assert not any(p.grad.any() for p in net.parameters())
    flat.values.fill_(2.0)
    assert all((p == 2).all() for p in net.parameters())


def test_frozen_parameters_and_buffers_stay_where_they_are():
    net = make_net()
    net[3].weight.requires_grad_(False)
    places = [net[3].weight.data_ptr(), net[1].running_mean.data_ptr()]
    flat = FlatParameters(net)
    assert [net[3].weight.data_ptr(), net[1].running_mean.data_ptr()] == places
    assert "3.weight" not in flat.names
    assert "3.bias" in flat.names
    assert net[3].weight.grad is None


def test_tied_parameters_are_held_once():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    flat = FlatParameters(net)
    assert flat.names == ("0.weight", "0.bias", "1.bias")
    net(torch.ones(1, 4)).sum().backward()
    flat.check()


def replaced_data(net):
    net[0].weight.data = net[0].weight.data.clone()


def to_double(net):
    net.to(torch.float64)


def assigned(net):
    net.load_state_dict(net.state_dict(), assign=True)


def another_parameter(net):
    net[3].bias = nn.Parameter(torch.zeros(7))


def second_buffers(net):
    FlatParameters(net)


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (replaced_data, r"0\.weight no longer lies in its flat buffer: its \.data was replaced"),
        (to_double, r"0\.weight no longer lies in its flat buffer"),
        (assigned, r"0\.weight is another Parameter than.*assign=True"),
        (another_parameter, r"3\.bias is another Parameter than"),
        (second_buffers, r"0\.weight no longer lies in its flat buffer.*second optimiser"),
        (lambda net: net.zero_grad(), r"0\.weight\.grad was set to None between"),
        (lambda net: setattr(net[0].bias, "grad", torch.ones(5)), r"0\.bias\.grad was replaced"),
    ],
)
def test_what_replaces_a_view_is_refused_by_name(replace, message):
    net = make_net()
    flat = FlatParameters(net)
    replace(net)
    with pytest.raises(RuntimeError, match=message):
        flat.check()


def test_a_phase_puts_gradients_back():
    net = make_net()
    flat = FlatParameters(net)
    flat.gradients.fill_(1.0)
    net.zero_grad(set_to_none=True)
    net[0].bias.grad = torch.ones(5)
    flat.attach()
    flat.zero()
    flat.check()
    net(X).sum().backward()
    assert flat.gradients.any()


def test_what_writes_in_place_is_fine():
    net, other = make_net(), make_net()
    flat = FlatParameters(net)
    with torch.no_grad():
        other[0].weight.fill_(0.5)
    net.load_state_dict(other.state_dict())
    net.to("cpu").to(torch.float32).to(memory_format=torch.channels_last).train().eval()
    flat.check()
    assert (flat.views(flat.values)[0] == 0.5).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net: net.requires_grad_(False), "Sequential has no trainable parameter"),
        (lambda net: net[3].half(), r"3\.weight of Sequential is torch\.float16, expected"),
        (lambda net: net[3].double(), r"3\.weight of Sequential is torch\.float64 on cpu, 0\.w"),
        (lambda net: net.append(nn.LazyLinear(2)), r"4\.weight of Sequential is not initialised"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_cannot_be_flat_is_refused_by_name(change, message):
    net = make_net()
    change(net)
    with pytest.raises(ValueError, match=message):
        FlatParameters(net)
