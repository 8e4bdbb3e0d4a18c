"""Steps of the published configurations of StyleGAN2-ADA against plain ones in float64."""

import pytest
import torch
from _published_steps import largest_differences

from fastgan.models.stylegan2 import Discriminator, Generator
from fastgan.training.config.recipes import stylegan2

SMALL = {
    "z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8, "half_dtype": None,
}  # fmt: skip
CASES = [(name, 0) for name in stylegan2.PUBLISHED] + [("paper256", 3)]


def small(name, c_dim=0, **changes):
    settings = {"model": SMALL, "batch_gpu": None, "augment": {"p": 0.4}} | changes
    return stylegan2.published(name, resolution=(16, 16), batch=8, c_dim=c_dim, **settings)


def networks(config):
    torch.manual_seed(0)
    G, D = Generator(config.model).double(), Discriminator(config.model).double()
    with torch.no_grad():  # noise and biases start at 0, and would hide what is done to them
        for network in (G, D):
            for key, p in network.named_parameters():
                if key.endswith(("noise_strength", ".bias")) and "affine" not in key:
                    p.normal_().mul_(0.1)
    return G, D


@pytest.mark.parametrize(("name", "c_dim"), CASES)
def test_five_steps_are_the_published_ones(name, c_dim):
    """Losses, every parameter and buffer of G, D and G_ema, the mean path length, ADA's p."""
    config = small(name, c_dim)
    found = largest_differences(config, *networks(config), c_dim)
    assert found.keys() >= {"Loss/G", "Loss/D", "Loss/r1", "G", "D", "G_ema", "pl_mean", "p"}
    assert ("Loss/pl" in found) is (name != "cifar")
    for key, difference in found.items():
        assert difference <= 1e-12, f"{key}: {difference}"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"penalty_at": "augmented"}, "Loss/r1"),
        ({"pl_target": "mean_before"}, "Loss/pl"),
        ({"pl_decay": 0.02}, "pl_mean"),
        ({"d_reg_interval": 15}, "D"),
        ({"g_optimizer": {"betas": (0.0, 0.98)}}, "G"),
        ({"ema": {"rampup_ratio": 0.1}}, "G_ema"),
        ({"augment": {"ada_kimg": 100.0}}, "p"),
    ],
)
def test_another_setting_is_seen(change, where):
    config = small("auto", ema={"half_life_kimg": 0.01, "rampup_ratio": None})
    found = largest_differences(config, *networks(config), steps=4, **change)
    assert found[where] > 1e-6, found
