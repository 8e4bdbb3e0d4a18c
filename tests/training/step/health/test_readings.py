# SPDX-License-Identifier: Apache-2.0
"""What a look at a training reads, and that it changes nothing."""

import copy
from math import isnan

import pytest
import torch
from torch import nn

from fastgan.training import Batch, TrainStep
from fastgan.training.step.health.readings import Probe, auc, pairwise_distance


def networks():
    """A G with running means and random numbers of its own, a D with spectral norm's buffers."""
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 12))
    D = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(12, 16)), nn.ReLU(),
                      nn.Linear(16, 1))  # fmt: skip
    return G, D


def make_step(**settings):
    G, D = networks()
    step = TrainStep(G, D, latent_shape=8, watch_health=False, batch=16, **settings)
    step.state.step = 1  # before the first step a look is at the data alone
    return step


def test_auc_is_the_part_of_pairs_in_order():
    real, fake = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([2.0, 0.0])
    assert auc(real, fake) == pytest.approx((2 + 1 + 1.5) / 6)
    assert auc(fake, fake) == 0.5
    assert isnan(auc(real, torch.tensor([float("nan")])))


def test_pairwise_distance_is_the_mean_over_pairs():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])
    assert pairwise_distance(x) == pytest.approx(10 / 3)
    assert isnan(pairwise_distance(x[:1]))


def test_a_look_changes_nothing():
    step = make_step()
    x = torch.randn(16, 12)
    step(x)
    before = copy.deepcopy(step.state_dict())
    modes = [m.training for m in (*step.state.G.modules(), *step.state.D.modules())]
    reading = Probe(step.state).read(Batch(x=x))
    after = step.state_dict()
    assert [m.training for m in (*step.state.G.modules(), *step.state.D.modules())] == modes
    flat = [torch.utils._pytree.tree_leaves(v) for v in (before, after)]
    assert len(flat[0]) > 20
    assert all(
        torch.equal(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(*flat, strict=True)
    )
    assert reading.finite
    assert reading.step == 2


def test_a_look_keeps_the_logits_of_d():
    step = make_step()
    probe = Probe(step.state)
    assert probe.logits is None
    x = torch.randn(80, 12)
    step.state.D.eval()
    with torch.no_grad():
        expected = step.state.D(x)[:64, 0]
    reading = probe.read(Batch(x=x))
    real, fake = (torch.tensor(t) for t in (probe.logits.real, probe.logits.fake))
    assert torch.allclose(real.float(), expected)
    assert (len(fake), probe.logits.kimg) == (64, reading.kimg)
    assert auc(real, fake) == pytest.approx(reading.auc)


def test_before_the_first_step_no_network_is_called():
    step = make_step()
    step.state.step = 0
    step.state.G = step.state.D = None
    with pytest.raises(AttributeError):
        Probe(step.state)._of_networks(Batch(x=torch.zeros(16, 12)), torch.zeros(16, 12))
    assert Probe(step.state).read(Batch(x=torch.zeros(16, 12))).num_constant == 16


def test_readings_of_data_and_weights():
    step = make_step()
    probe = Probe(step.state)
    x = torch.randn(16, 12)
    x[:4] = x[0]  # one sample four times
    x[5] = -1.0  # constant
    first = probe.read(Batch(x=x))
    assert (first.num_real, first.num_distinct, first.num_constant) == (16, 13, 1)
    assert isnan(first.g_moved)
    with torch.no_grad():
        step.state.g_optimizer.flat.values.mul_(1.5)
    second = probe.read(Batch(x=x))
    assert second.g_moved == pytest.approx(1 / 3, abs=1e-3)
    assert second.g_size / first.g_size == pytest.approx(1.5, abs=1e-3)
    assert second.d_moved == 0


def test_diversity_is_a_ratio_of_distances():
    step = make_step()
    x = torch.randn(16, 12)
    wide = Probe(step.state).read(Batch(x=x)).diversity
    assert Probe(step.state).read(Batch(x=10 * x)).diversity == pytest.approx(wide / 10, rel=1e-3)
    with torch.no_grad():
        step.state.G[3].weight.zero_()
    assert Probe(step.state).read(Batch(x=x)).diversity == pytest.approx(0, abs=1e-6)


def test_no_more_samples_are_computed_at_once_than_in_a_step():
    whole, parts = make_step(), make_step(batch_gpu=4)
    sizes = []
    parts.state.D.register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    x = torch.randn(16, 12)
    one, other = (Probe(step.state).read(Batch(x=x)) for step in (whole, parts))
    assert sizes == [4] * 8
    for name in ("auc", "gap", "diversity"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=1e-4)


def test_networks_in_float64_are_looked_at_in_it():
    G, D = (network.double() for network in networks())
    step = TrainStep(G, D, latent_shape=8, watch_health=False, batch=16)
    step.state.step = 1
    assert Probe(step.state).read(Batch(x=torch.randn(16, 12).double())).finite


def test_wasserstein_gives_logits_no_scale():
    assert isnan(
        Probe(make_step(objective="wasserstein").state).read(Batch(x=torch.randn(16, 12))).gap
    )


def test_samples_that_are_not_finite_are_told():
    step = make_step()
    with torch.no_grad():
        step.state.G[3].bias.fill_(float("inf"))
    reading = Probe(step.state).read(Batch(x=torch.randn(16, 12)))
    assert not reading.finite


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1, keepdim=True)


def held_out_reading(real, held_out, fake=0.0, **settings):
    """Of a D that gives the mean of a sample, and a G that gives constant ones."""
    step = make_step(**settings)
    step.state.D = Mean()
    step.state.G = nn.Sequential(nn.Linear(8, 12))
    with torch.no_grad():
        step.state.G[0].weight.zero_()
        step.state.G[0].bias.fill_(fake)
    return Probe(step.state, held_out=held_out, num_samples=50).read(Batch(x=real))


def test_r_v_is_how_far_held_out_samples_are_on_the_way_to_the_fakes():
    real = torch.full((16, 12), 4.0)
    reading = held_out_reading(real, Batch(x=torch.full((20, 12), 1.0)))
    assert (reading.r_v, reading.num_held_out, reading.held_out_auc) == (0.75, 20, 1.0)
    like_real = held_out_reading(real, Batch(x=real))
    assert (like_real.r_v, like_real.held_out_auc) == (0.0, 0.5)
    assert held_out_reading(real, Batch(x=torch.zeros(100, 12))).num_held_out == 64
    wrong = held_out_reading(real, Batch(x=real), fake=5.0)  # D takes fakes for real
    assert isnan(wrong.r_v)


def test_r_t_is_the_mean_sign_where_the_loss_gives_signs_a_meaning():
    real = torch.cat([torch.ones(12, 12), -torch.ones(4, 12)])
    reading = held_out_reading(real, None)
    assert (reading.r_t, reading.num_held_out) == (0.5, 0)
    assert isnan(reading.r_v)
    assert isnan(reading.held_out_auc)
    assert held_out_reading(real, None, objective="hinge").r_t == 0.5
    halves = torch.cat([torch.full([12, 12], 0.6), torch.full([4, 12], 0.4)])
    assert held_out_reading(halves, None, objective="least_squares").r_t == 0.5
    for objective in ("relativistic", "wasserstein"):
        assert isnan(held_out_reading(real, None, objective=objective).r_t)


def test_passes_count_how_often_a_sample_was_shown():
    step = make_step()
    step.state.nimg = 500
    x = torch.randn(16, 12)
    assert Probe(step.state, num_samples=100).read(Batch(x=x)).passes == 5
    assert isnan(Probe(step.state).read(Batch(x=x)).passes)
