# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from fastgan.training.config.run import OptimizerConfig
from fastgan.training.optim.optimizers import frozen, make_optimizer
from fastgan.training.step.state import create_state


def test_lazy_regularisation_corrects_adam():
    adam = make_optimizer(
        nn.Linear(2, 2), OptimizerConfig(lr=0.1, betas=(0.5, 0.9)), lazy_interval=4
    )
    group = adam.param_groups[0]
    assert group["lr"].item() == pytest.approx(0.08)
    assert group["betas"] == pytest.approx((0.5**0.8, 0.9**0.8))


def test_lazy_regularisation_corrects_adamw_and_rmsprop():
    config = OptimizerConfig(name="adamw", lr=0.1, betas=(0.5, 0.9), weight_decay=0.3)
    group = make_optimizer(nn.Linear(2, 2), config, lazy_interval=4).param_groups[0]
    assert group["betas"] == pytest.approx((0.5**0.8, 0.9**0.8))
    assert group["weight_decay"] == 0.3  # the decay is lr·weight_decay, and lr is corrected
    config = OptimizerConfig(name="rmsprop", lr=0.1, alpha=0.9)
    group = make_optimizer(nn.Linear(2, 2), config, lazy_interval=4).param_groups[0]
    assert group["lr"].item() == pytest.approx(0.08)
    assert group["alpha"] == pytest.approx(0.9**0.8)


def test_only_a_lazy_penalty_corrects(tiny):
    rates = {}
    for name, changes in {
        "none": {"d_reg_interval": 4},
        "eager": {"r1_gamma": 1.0},
        "lazy": {"r1_gamma": 1.0, "d_reg_interval": 4, "pl_weight": 1.0, "g_reg_interval": 3},
    }.items():
        state = tiny.state(tiny.config(**changes))
        rates[name] = [
            optimizer.param_groups[0]["lr"].item() / 0.002
            for optimizer in (state.d_optimizer, state.g_optimizer)
        ]
    assert rates["none"] == rates["eager"] == pytest.approx([1, 1])
    assert rates["lazy"] == pytest.approx([4 / 5, 3 / 4])


def test_priming_forgets_in_place():
    net = nn.Linear(3, 2)
    adam = make_optimizer(net, OptimizerConfig(lr=0.1, betas=(0.5, 0.9)))
    net(torch.randn(4, 3)).square().mean().backward()
    adam.step()
    entries = [entry for p in net.parameters() for entry in adam.state[p].values()]
    assert all(value.any() for value in entries)
    adam.reset()
    assert not any(value.any() for value in entries)


def test_frozen_gives_back_what_it_took_even_after_an_error():
    net = nn.Linear(2, 2)
    adam = make_optimizer(net, OptimizerConfig())

    def fail():
        with frozen(adam):
            assert not net.weight.requires_grad
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert net.weight.requires_grad


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="Linear has no trainable parameter"):
        make_optimizer(nn.Linear(2, 2).requires_grad_(False), OptimizerConfig())


@pytest.mark.parametrize("name", ["pl_weight", "style_mixing_prob"])
def test_latent_tricks_need_a_mapping(tiny, name):
    config = tiny.config(**{name: 0.5})
    G = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=f"{name}=0.5 needs a generator with mapping.*{name}=0"):
        create_state(config, G, tiny.D(config.model))


def test_grid_depends_on_the_seed_alone(tiny):
    grids = []
    for seed, global_seed in ((0, 1), (0, 2), (1, 1)):
        config = tiny.config(seed=seed)
        G, D = tiny.G(config.model), tiny.D(config.model)
        torch.manual_seed(global_seed)
        grids.append(create_state(config, G, D).grid_z)
    assert torch.equal(grids[0], grids[1])
    assert not torch.equal(grids[0], grids[2])


def test_grid_shows_the_classes_in_turn(tiny):
    data = tiny.config().data.__class__(use_labels=True)
    state = tiny.state(tiny.config(model=tiny.Config(c_dim=3), data=data))
    assert state.grid_c.argmax(1).tolist()[:4] == [0, 1, 2, 0]
    assert len(state.grid_c) == len(state.grid_z) == 64


def test_average_starts_as_a_frozen_copy_in_eval_mode(tiny):
    state = tiny.state(tiny.config())
    assert not state.G_ema.training
    assert not any(p.requires_grad for p in state.G_ema.parameters())
    assert torch.equal(state.G_ema.out.weight, state.G.out.weight)
    assert state.G_ema.out.weight is not state.G.out.weight


def test_shared_parameters_are_refused(tiny):
    config = tiny.config()
    G, D = tiny.G(config.model), tiny.D(config.model)
    D.conv.bias = G.fc.bias
    with pytest.raises(ValueError, match=r"G and D share D's conv\.bias"):
        create_state(config, G, D)
