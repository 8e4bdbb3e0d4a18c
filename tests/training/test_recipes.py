import json

import pytest
import torch

from fastgan.training.config import TrainConfig
from fastgan.training.recipes import load_recipe, recipes
from fastgan.training.state import Batch, build_state
from fastgan.training.step import train_step

# a few channels, so that a step is quick
SMALL = {
    "mlp": {"g_hidden": (8,), "d_hidden": (8,)},
    "dcgan": {"g_channels": 4, "d_channels": 4},
    "stylegan2": {"z_dim": 8, "w_dim": 8, "channel_max": 8},
    "skipconv": {"w_dim": 8, "channel_max": 8},
}


def test_unknown_recipe_lists_those_that_exist():
    assert {"dcgan", "faces", "mlp", "stylegan2"} <= set(recipes())
    with pytest.raises(ValueError, match=r"must be one of dcgan, faces.*got 'biggan'"):
        load_recipe("biggan")


@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize("name", recipes())
def test_a_recipe_runs_and_survives_json(name, c_dim):
    config = load_recipe(name)(resolution=(16, 12), img_channels=3, c_dim=c_dim, batch=4)
    assert config.name == name
    assert (config.batch, config.model.img_height, config.model.img_width) == (4, 16, 12)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    small = config.with_changes(model=SMALL.get(config.architecture, {}))
    state = build_state(small)
    c = torch.eye(c_dim)[torch.arange(4) % c_dim] if c_dim else None
    train_step(state, Batch(x=torch.rand(4, 3, 16, 12) * 2 - 1, c=c))
    assert all(torch.isfinite(p).all() for p in state.G.parameters())
    assert state.stats.read().keys() >= {"Loss/D", "Loss/G"}


@pytest.mark.parametrize("name", recipes())
def test_overrides_win(name):
    config = load_recipe(name)(
        resolution=(8, 8), seed=7, model={"z_dim": 9}, ema={"half_life_kimg": 1.25}
    )
    assert (config.seed, config.model.z_dim, config.ema.half_life_kimg) == (7, 9, 1.25)


def test_stylegan2_gamma_follows_batch_and_resolution():
    recipe = load_recipe("stylegan2")
    assert recipe(resolution=(64, 64), batch=16).r1_gamma == pytest.approx(0.0002 * 4096 / 16)
    assert recipe(resolution=(32, 64), r1_gamma=5.0).r1_gamma == 5
