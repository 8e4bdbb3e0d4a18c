# SPDX-License-Identifier: Apache-2.0
"""Steps of the published configurations of StyleGAN2-ADA against plain ones in float64."""

import pytest
import torch
from _published_steps import largest_differences

from fastgan.models.stylegan2 import Discriminator, Generator
from fastgan.training.config.published import stylegan2
from fastgan.training.step.state import create_state

SMALL = {
    "z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8, "half_dtype": None,
}  # fmt: skip
CASES = [(name, 0) for name in stylegan2.PUBLISHED] + [("paper256", 3)]


def small(name, c_dim=0, **changes):
    settings = {"model": SMALL, "batch_gpu": None, "augment": {"p": 0.4}} | changes
    return stylegan2.published(name, resolution=(16, 16), batch=8, c_dim=c_dim, **settings)


# batch, batch_gpu on `gpus`, mbstd_group, channel_base, lr, r1_gamma, EMA in kimg, ramp-up, layers
TABLE = {
    ("stylegan2", 1024, 8): (32, 4, 4, 32768, 0.002, 10, 10, None, 8),
    ("stylegan2", 1024, 1): (32, 4, 4, 32768, 0.002, 10, 10, None, 8),
    ("paper256", 256, 8): (64, 8, 8, 16384, 0.0025, 1, 20, None, 8),
    ("paper512", 512, 8): (64, 8, 8, 32768, 0.0025, 0.5, 20, None, 8),
    ("paper1024", 1024, 16): (32, 2, 2, 32768, 0.002, 2, 10, None, 8),
    ("cifar", 32, 2): (64, 32, 32, 32768, 0.0025, 0.01, 500, 0.05, 2),
    ("auto", 1024, 1): (4, 4, 4, 32768, 0.002, 0.0002 * 1024**2 / 4, 1.25, 0.05, 2),
    ("auto", 1024, 8): (32, 4, 4, 32768, 0.002, 0.0002 * 1024**2 / 32, 10, 0.05, 2),
    ("auto", 256, 1): (16, 16, 4, 16384, 0.0025, 0.0002 * 256**2 / 16, 5, 0.05, 2),
    ("auto", 512, 2): (16, 8, 4, 32768, 0.0025, 0.0002 * 512**2 / 16, 5, 0.05, 2),
    ("auto", 128, 8): (64, 8, 4, 16384, 0.0025, 0.0002 * 128**2 / 64, 20, 0.05, 2),
    ("auto", 1024, 80): (80, 1, 1, 32768, 0.002, 0.0002 * 1024**2 / 80, 25, 0.05, 2),
}


@pytest.mark.parametrize(("name", "side", "gpus"), TABLE)
def test_settings_are_the_published_ones(name, side, gpus):
    """Numbers of the public documentation."""
    config = stylegan2.published(name, resolution=(side, side), gpus=gpus)
    model, is_cifar = config.model, name == "cifar"
    found = (
        config.batch, config.batch_gpu, model.mbstd_group, model.channel_base,
        config.d_optimizer.lr, config.r1_gamma, config.ema.half_life_kimg,
        config.ema.rampup_ratio, model.mapping_layers,
    )  # fmt: skip
    assert found == pytest.approx(TABLE[name, side, gpus])
    assert config.g_optimizer == config.d_optimizer
    assert config.g_optimizer.betas == (0, 0.99)
    assert config.always_corrects_g is is_cifar  # for a regularisation that it leaves out
    assert (config.d_reg_interval, config.g_reg_interval) == (16, 4)
    assert (config.pl_weight, config.style_mixing_prob) == ((0, 0) if is_cifar else (2, 0.9))
    assert (config.pl_decay, config.pl_batch_shrink, config.penalty_at) == (0.01, 2, "images")
    assert (model.z_dim, model.w_dim, model.channel_max, model.conv_clamp) == (512, 512, 512, 256)
    assert (model.half_dtype, model.half_sizes, model.half_on_cpu) == ("bfloat16", 4, False)
    assert (model.g_architecture, model.d_architecture) == (
        "skip", "orig" if is_cifar else "resnet"
    )  # fmt: skip
    augment = config.augment
    assert (augment.mode, augment.target, augment.ada_kimg) == ("ada", 0.6, 500)
    assert (augment.groups, config.total_kimg) == ("bgc", 100_000 if is_cifar else 25_000)
    assert type(config).from_dict(config.to_dict()) == config


def test_another_name_is_refused_in_words():
    with pytest.raises(ValueError, match=r"name must be one of auto, stylegan2, .*got 'paper128'"):
        stylegan2.published("paper128", resolution=(128, 128))


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


@pytest.mark.parametrize("pl_weight", [0.0, 2.0])
def test_adam_of_cifar_is_corrected_once_with_path_length_and_without(pl_weight):
    config = small("cifar", pl_weight=pl_weight)
    group = create_state(config, *networks(config)).g_optimizer.param_groups[0]
    assert group["base_lr"] == pytest.approx(0.0025 * 4 / 5)
    assert group["betas"] == pytest.approx((0.0, 0.99 ** (4 / 5)))


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
