# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.nn.functional as F

from fastgan.nn import MappingNetwork


def build(z_dim=4, c_dim=3, num_ws=5, **options):
    torch.manual_seed(0)
    return MappingNetwork(z_dim, c_dim, 6, num_ws, num_layers=2, **options)


def test_value_is_the_formula():
    net = build(lr_multiplier=0.5).double()
    for p in net.parameters():
        p.data = torch.randn_like(p)
    z, c = torch.randn(2, 4).double(), torch.randn(2, 3).double()

    def norm(v):
        return v / (v.square().mean(1, keepdim=True) + 1e-8).sqrt()

    embedded = c @ net.embed.weight.t() / math.sqrt(3) + net.embed.bias
    w = torch.cat([norm(z), norm(embedded)], 1)
    for fc in (net.fc0, net.fc1):
        w = w @ fc.weight.t() * 0.5 / math.sqrt(w.shape[1]) + 0.5 * fc.bias
        w = math.sqrt(2) * F.leaky_relu(w, 0.2)
    ws = net(z, c)
    assert ws.shape == (2, 5, 6)
    for i in range(5):
        torch.testing.assert_close(ws[:, i], w)


def test_scale_of_z_does_not_matter_but_direction_does():
    net = build(c_dim=0).eval()
    z = torch.randn(2, 4)
    torch.testing.assert_close(net(z), net(10 * z))
    assert not net(z).allclose(net(-z))


def test_w_avg_follows_the_batch_mean_in_training_only():
    net = build(c_dim=0, w_avg_beta=0.9)
    z = torch.randn(8, 4)
    w = net(z, update_w_avg=False)[:, 0]
    assert net.w_avg.eq(0).all()
    net(z)
    torch.testing.assert_close(net.w_avg, 0.1 * w.mean(0))
    net(z)
    torch.testing.assert_close(net.w_avg, 0.19 * w.mean(0))
    before = net.w_avg.clone()
    net.eval()(z)
    torch.testing.assert_close(net.w_avg, before, rtol=0, atol=0)


def test_w_avg_stays_float32_under_autocast():
    net = build(c_dim=0)
    with torch.autocast(net.w_avg.device.type, torch.bfloat16):
        net(torch.randn(8, 4))
    assert net.w_avg.dtype == torch.float32
    assert net.w_avg.ne(0).any()


def test_truncation_pulls_the_first_layers_towards_w_avg():
    net = build(c_dim=0).eval()
    net.w_avg.copy_(torch.randn(6))
    z = torch.randn(3, 4)
    ws = net(z)
    expected = net.w_avg + 0.3 * (ws - net.w_avg)
    torch.testing.assert_close(net(z, truncation_psi=0.3), expected)
    cut = net(z, truncation_psi=0.3, truncation_cutoff=2)
    torch.testing.assert_close(cut[:, :2], expected[:, :2])
    torch.testing.assert_close(cut[:, 2:], ws[:, 2:], rtol=0, atol=0)
    torch.testing.assert_close(net(z, truncation_psi=0.0), net.w_avg.expand(3, 5, 6))


def test_gradients_survive_a_later_update_of_w_avg():
    net = build(c_dim=0)
    z = torch.randn(3, 4)
    first = net(z, truncation_psi=0.5)
    net(z)
    first.sum().backward()
    assert net.fc0.weight.grad.ne(0).any()


def test_condition_alone_without_broadcast():
    net = build(z_dim=0, num_ws=None, w_avg_beta=None)
    assert net(None, torch.randn(2, 3)).shape == (2, 6)
    assert not any("w_avg" in key for key in net.state_dict())
    with pytest.raises(ValueError, match="truncation_psi must be 1 without w_avg"):
        net(None, torch.randn(2, 3), truncation_psi=0.5)


def test_state_dict_names():
    layers = [f"fc{i}.{kind}" for i in range(2) for kind in ("weight", "bias")]
    embed = ["embed.weight", "embed.bias"]
    assert list(build().state_dict()) == ["w_avg", *embed, *layers]
    assert list(build(c_dim=0).state_dict()) == ["w_avg", *layers]


def test_wrong_inputs_are_refused():
    z, c = torch.zeros(2, 4), torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"c must be floating with shape \[N, 3\], got None"):
        build()(z)
    with pytest.raises(ValueError, match=r"z must be floating with shape \[N, 4\]"):
        build()(z[:, :3], c)
    with pytest.raises(ValueError, match="c must be floating"):
        build()(z, c.long())
    with pytest.raises(ValueError, match="equal batch sizes, got 2 and 1"):
        build()(z, c[:1])
    with pytest.raises(ValueError, match="c must be None because c_dim=0"):
        build(c_dim=0)(z, c)
    with pytest.raises(ValueError, match="not both 0"):
        build(z_dim=0, c_dim=0)
    with pytest.raises(ValueError, match=r"w_avg_beta must lie in \[0, 1\]"):
        build(w_avg_beta=1.5)
