# SPDX-License-Identifier: Apache-2.0
"""Every recipe can have every schedule, which ends where a constant setting is."""

import pytest
import torch
from _small_networks import fields_at_16, size_of

from fastgan.training.config.recipes import load_recipe, recipes
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import build_state

ANNEAL_KIMG = 2.0
NIMG = 40_000  # far beyond it; ramp-ups of the average are over, too


@pytest.mark.parametrize("name", recipes("images"))
def test_every_recipe_takes_all_of_them(name):
    recipe = load_recipe(name)
    config = recipe(
        resolution=size_of(recipe, (16, 16)), ema={"half_life_kimg": 1.0},
        g_optimizer={"betas": (0.0, 0.5)},
        schedule={"anneal_kimg": ANNEAL_KIMG, "lr_end": 0.5, "gamma_end": 0.25, "beta2_end": 0.7,
                  "ema_half_life_end_kimg": 3.0},
    )  # fmt: skip
    values = config.scheduled_values(ANNEAL_KIMG / 2)
    expected = {"lr_factor": 0.75, "gamma_factor": 0.625, "beta2": 0.6, "ema_kimg": 2.0}
    assert values == pytest.approx(expected)


def step_of(name, **changes):
    """G, D and G_ema after one step at NIMG; the first step has every lazy penalty."""
    recipe = load_recipe(name)
    size = size_of(recipe, (16, 16))
    config = recipe(resolution=size, batch=4)
    config = config.with_changes(model=fields_at_16(config.architecture), **changes)
    torch.manual_seed(0)
    state = build_state(config)
    state.nimg = NIMG
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(4, config.model.img_channels, *size, generator=generator) * 2 - 1
    for _ in range(2):
        train_step(state, Batch(x=x, c=None))
    return {
        f"{network}.{name}": p.detach().clone()
        for network in ("G", "D", "G_ema")
        for name, p in getattr(state, network).named_parameters()
    }


@pytest.mark.parametrize(
    ("name", "schedule", "constant"),
    [
        ("dcgan", {"lr_end": 0.5}, {"g_optimizer": {"lr": 1e-4}, "d_optimizer": {"lr": 1e-4}}),
        ("stylegan2-small", {"gamma_end": 0.25}, {"r1_gamma": 0.0002 * 256 / 4 * 0.25}),
        ("mlp", {"gamma_end": 3.0}, {"r1_gamma": 3.0, "r2_gamma": 3.0}),
        ("faces", {"beta2_end": 0.5},
         {"g_optimizer": {"betas": (0.0, 0.5)}, "d_optimizer": {"betas": (0.0, 0.5)}}),
        ("stylegan3-small", {"ema_half_life_end_kimg": 0.01},
         {"ema": {"half_life_kimg": 0.01}}),
    ],
)  # fmt: skip
def test_its_end_is_the_constant_setting(name, schedule, constant):
    scheduled = step_of(name, schedule={"anneal_kimg": ANNEAL_KIMG} | schedule)
    wanted, unscheduled = step_of(name, **constant), step_of(name)
    assert scheduled.keys() == wanted.keys()
    for key, p in scheduled.items():
        torch.testing.assert_close(p, wanted[key], rtol=1e-5, atol=1e-7, msg=key)
    moved = max((p - unscheduled[key]).abs().max().item() for key, p in scheduled.items())
    assert moved > 1e-5
