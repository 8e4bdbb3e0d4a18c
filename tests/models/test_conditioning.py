# SPDX-License-Identifier: Apache-2.0
"""The four ways in which the discriminators of mlp and dcgan take a condition."""

import json

import pytest
import torch
from _small_networks import small

from fastgan.cli.train_options.names import CONDITIONINGS
from fastgan.losses.gradient_penalty import r1
from fastgan.models._conditioning import KINDS
from fastgan.training.config.recipes import load_recipe
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import build_state

NETWORKS = ("mlp", "dcgan")
DEFAULTS = {"mlp": "concatenation", "dcgan": "projection"}


def make(name, kind, **fields):
    torch.manual_seed(0)
    module, config = small(name, c_dim=3, conditioning=kind, **fields)
    D = module.Discriminator(config).double()
    with torch.no_grad():  # dcgan starts with weights of 0.02, whose effects would be tiny
        for parameter in D.parameters():
            parameter.normal_()
    return D, torch.randn(4, 3, 16, 16).double(), torch.eye(3)[[0, 1, 2, 0]].double()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_condition_reaches_the_logit_in_its_own_way(name):
    D, x, c = make(name, "concatenation")
    assert not D(x, c).isclose(D(x, c.roll(1, 1))).any()
    low, middle, high = (D(x, t * c) for t in (-30, 0, 30))
    assert not (low + high).isclose(2 * middle).any()  # it goes through the nonlinearities

    D, x, c = make(name, "projection")
    logits = D(x, c)
    columns = torch.cat([D(x, e.expand(4, 3)) for e in torch.eye(3).double()], 1)  # [N, classes]
    torch.testing.assert_close(logits, (columns * c).sum(1, keepdim=True))
    none = D(x, torch.zeros_like(c))
    torch.testing.assert_close(D(x, 3 * c) - none, 3 * (logits - none))  # linear in c
    assert not logits.isclose(none).any()

    D, x, c = make(name, "auxiliary_classifier")
    (logits, classes), (same, alike) = D(x, c), D(x, c.roll(1, 1))
    assert (logits.shape, classes.shape) == ((4, 1), (4, 3))
    assert torch.equal(logits, same)
    assert torch.equal(classes, alike)
    assert classes.std(0).min() > 0

    D, x, c = make(name, "projection_and_classifier")
    (logits, classes), (other, alike) = D(x, c), D(x, c.roll(1, 1))
    none = D(x, torch.zeros_like(c))[0]
    torch.testing.assert_close(D(x, 3 * c)[0] - none, 3 * (logits - none))
    assert not logits.isclose(other).any()
    assert torch.equal(classes, alike)
    assert classes.std(0).min() > 0


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_penalty_has_the_gradient_of_the_logit_alone(name, kind):
    D, x, c = make(name, kind)
    penalty = r1(D, x, c)
    given = x.clone().requires_grad_()
    logits = D(given, c)
    logits = logits[0] if isinstance(logits, tuple) else logits
    (dx,) = torch.autograd.grad(logits.sum(), given)
    torch.testing.assert_close(penalty.detach(), dx.square().flatten(1).sum(1))


@pytest.mark.parametrize("kind", KINDS)
def test_spectral_norm_holds_what_takes_the_condition(kind):
    D, x, c = make("mlp", kind, d_norm="spectral")
    names = {name for name, _ in D.named_parameters()}
    assert all(name.endswith(("original", "bias", "0", "1")) for name in names)
    for _ in range(60):  # power iterations
        D(x, c)
    for module in D.modules():
        if isinstance(module, torch.nn.Linear):
            assert torch.linalg.matrix_norm(module.weight, 2).item() == pytest.approx(1, rel=1e-2)


def terms_of(config):
    modules = config.make_objective().modules()
    return {type(m).__name__: m.weight for m in modules if type(m).__name__ == "Term"}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["auxiliary_classifier", "projection_and_classifier"])
def test_a_run_with_a_classifier_has_its_losses(name, kind):
    recipe = load_recipe(name)
    sizes = {"resolution": (16, 16), "img_channels": 3, "c_dim": 3, "batch": 4}
    assert recipe(**sizes).model.conditioning == DEFAULTS[name]
    assert terms_of(recipe(**sizes)) == {}
    kind = {"conditioning": kind}
    assert terms_of(recipe(**sizes | {"c_dim": 0}, model=kind)) == {}
    config = recipe(**sizes, model=kind)
    assert terms_of(config) == {"Term": 1.0}
    (term,) = (m for m in config.make_objective().modules() if type(m).__name__ == "Term")
    assert term.on_fakes == (kind["conditioning"] == "auxiliary_classifier")
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    own = config.with_changes(objective_options={"auxiliary_classifier": {"weight": 0.5}})
    assert terms_of(own) == {"Term": 0.5}
    assert terms_of(config.with_changes(model={"conditioning": "projection"})) == {}
    state = build_state(config)
    classes = torch.eye(3)[[0, 1, 2, 0]]
    train_step(state, Batch(x=torch.rand(4, 3, 16, 16) * 2 - 1, c=classes))
    statistics = state.stats.read()
    assert statistics["Loss/D_class"] > 0
    assert statistics["Loss/G_class"] > 0
    assert all(torch.isfinite(p).all() for p in state.D.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_another_kind_is_refused(name):
    with pytest.raises(ValueError, match=r"conditioning must be one of concatenation, projection"):
        small(name, c_dim=3, conditioning="film")


def test_the_command_has_all_kinds():
    assert CONDITIONINGS == KINDS
