# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import torch
from _small_networks import fields_at_16, size_of

from fastgan.training.config.recipes import (
    is_published,
    load_recipe,
    recipe_modality,
    recipes,
)
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import build_state


def test_unknown_recipe_lists_those_that_exist():
    assert set(recipes()) >= {
        "auto", "biggan-small", "cifar", "dcgan", "faces", "mlp", "paper1024", "paper256",
        "paper512", "r3gan", "r3gan-small", "sagan", "sngan", "stylegan2", "stylegan2-small",
        "stylegan3-r", "stylegan3-small", "stylegan3-t", "transformer",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"one of auto, .*cifar.*stylegan3-t.*got 'biggan'"):
        load_recipe("biggan")


def test_a_recipe_is_for_the_modality_of_its_folder():
    assert recipe_modality("stylegan3-t") == "images"
    assert "faces" in recipes("images")
    assert recipes("nothing") == []


def test_published_recipes_are_told_from_those_that_are_sized_for_a_processor():
    assert {name for name in recipes() if is_published(name)} == {
        "auto", "bigvgan", "cifar", "hifigan-v1", "hifigan-v2", "hifigan-v3", "paper1024",
        "paper256", "paper512", "r3gan", "stylegan2", "stylegan3-r", "stylegan3-t",
    }  # fmt: skip


@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize("name", recipes("images"))
def test_a_recipe_runs_and_survives_json(name, c_dim):
    recipe = load_recipe(name)
    size = size_of(recipe, (16, 12))
    preset = {"preset": "CIFAR10"} if name == "r3gan" else {}
    config = recipe(resolution=size, img_channels=3, c_dim=c_dim, batch=4, gpus=2, **preset)
    assert config.name == "-".join([name, *preset.values()])
    assert (config.batch, config.model.img_height, config.model.img_width) == (4, *size)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    fields = fields_at_16(config.architecture)
    if name == "r3gan":  # its stages are those of one size
        size = (16, 16)
        fields |= {"img_height": 16, "img_width": 16, "bf16_stages": ()}
    small = config.with_changes(model=fields)
    state = build_state(small)
    c = torch.eye(c_dim)[torch.arange(4) % c_dim] if c_dim else None
    for _ in range(small.n_critic):
        train_step(state, Batch(x=torch.rand(4, 3, *size) * 2 - 1, c=c))
    assert all(torch.isfinite(p).all() for p in state.G.parameters())
    assert state.stats.read().keys() >= {"Loss/D", "Loss/G"}


@pytest.mark.parametrize("name", recipes("images"))
def test_overrides_win(name):
    recipe = load_recipe(name)
    config = recipe(
        resolution=size_of(recipe, (8, 8)), seed=7, model={"z_dim": 9},
        ema={"half_life_kimg": 1.25},
    )  # fmt: skip
    assert (config.seed, config.model.z_dim, config.ema.half_life_kimg) == (7, 9, 1.25)


def test_stylegan2_gamma_follows_batch_and_resolution():
    recipe = load_recipe("stylegan2-small")
    assert recipe(resolution=(64, 64), batch=16).r1_gamma == pytest.approx(0.0002 * 4096 / 16)
    assert recipe(resolution=(32, 64), r1_gamma=5.0).r1_gamma == 5


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (64, 64), (512, 512)])
def test_r3gan_has_both_penalties_at_every_step_and_a_stage_for_each_doubling(size):
    config = load_recipe("r3gan-small")(resolution=size)
    assert (config.objective, config.d_reg_interval) == ("relativistic", 1)
    assert config.r1_gamma == config.r2_gamma > 0
    assert config.g_optimizer.betas[0] == config.d_optimizer.betas[0] == 0
    assert 4 * 2 ** (len(config.model.widths) - 1) == size[0]


@pytest.mark.parametrize("size", [(16, 12), (12, 12), (2, 2), (8, 16)])
def test_r3gan_refuses_other_sizes_in_words(size):
    words = rf"r3gan-small: resolution must be a square.*{size[0]}×{size[1]}.*--resolution"
    with pytest.raises(ValueError, match=words):
        load_recipe("r3gan-small")(resolution=size)
