# SPDX-License-Identifier: Apache-2.0
"""Steps of the published configurations of StyleGAN3 against plain ones in float64."""

import pytest
import torch
from _published_steps import largest_differences

from fastgan.models.stylegan3 import Discriminator, Generator
from fastgan.training.config.published import stylegan3

SMALL = {
    "z_dim": 5, "w_dim": 6, "channel_base": 64, "channel_max": 6, "num_layers": 6, "margin_size": 3,
    "d_channel_base": 64, "d_channel_max": 8, "d_mapping_layers": 1, "half_dtype": None,
}  # fmt: skip
CASES = [("stylegan3-t", 0), ("stylegan3-r", 0), ("stylegan3-r", 3)]
FADE = {"blur_fade_kimg": 0.03}  # σ is 10, 7.3, 4.7, 2 and 0 at steps of 8 images


def small(name, c_dim=0, **changes):
    settings = {"model": SMALL, "batch_gpu": None, "augment": {"p": 0.4}, "r1_gamma": 2.0} | changes
    return stylegan3.published(name, resolution=(16, 16), batch=8, c_dim=c_dim, **settings)


# batch, D's lr, channel_base of G and of D, channel_max of G, γ
TABLE = {
    ("stylegan3-t", 256): (64, 0.0025, 16384, 16384, 512, 1.0),
    ("stylegan3-t", 512): (32, 0.002, 32768, 32768, 512, 8.2),
    ("stylegan3-t", 1024): (32, 0.002, 32768, 32768, 512, 32.8),
    ("stylegan3-r", 256): (64, 0.0025, 32768, 16384, 1024, 1.0),
    ("stylegan3-r", 512): (32, 0.002, 65536, 32768, 1024, 16.4),
    ("stylegan3-r", 1024): (32, 0.002, 65536, 32768, 1024, 32.8),
}


@pytest.mark.parametrize(("name", "side"), TABLE)
def test_settings_are_the_published_ones(name, side):
    """Numbers of the public documentation."""
    config = stylegan3.published(name, resolution=(side, side))
    model, batch, is_rotation = config.model, config.batch, name == "stylegan3-r"
    found = (
        batch, config.d_optimizer.lr, model.channel_base, model.d_channel_base,
        model.channel_max, config.r1_gamma,
    )  # fmt: skip
    assert found == TABLE[name, side]
    assert (config.batch_gpu, config.g_optimizer.lr, model.mapping_layers) == (batch / 8, 0.0025, 2)
    assert (model.num_layers, model.num_critical, model.mbstd_group) == (14, 2, 4)
    assert model.magnitude_ema_beta == pytest.approx(0.5 ** (batch / 20_000))
    assert config.ema.half_life_kimg == batch * 10 / 32
    assert (config.d_reg_interval, config.pl_weight, config.style_mixing_prob) == (16, 0, 0)
    assert (model.conv_kernel, model.use_radial_filters) == (
        (1, True) if is_rotation else (3, False)
    )
    blur = (config.blur_init_sigma, config.blur_fade_kimg)
    assert blur == ((10, batch * 200 / 32) if is_rotation else (0, 0))
    assert type(config).from_dict(config.to_dict()) == config


def test_what_is_not_published_is_refused_in_words():
    with pytest.raises(ValueError, match=r"name must be one of stylegan3-t, .*got 'stylegan3-x'"):
        stylegan3.published("stylegan3-x", resolution=(512, 512))


@pytest.mark.parametrize("side", [256, 512, 1024])
def test_gamma_at_other_sizes_follows_that_of_t(side):
    published = stylegan3.published("stylegan3-t", resolution=(side, side))
    assert 0.001 * side**2 / published.batch == pytest.approx(published.r1_gamma, rel=0.03)
    other = stylegan3.published("stylegan3-r", resolution=(side, side // 2), batch=16)
    assert other.r1_gamma == stylegan3.published("stylegan3-r", resolution=(side, side)).r1_gamma
    small = stylegan3.published("stylegan3-r", resolution=(128, 64), batch=16)
    assert small.r1_gamma == pytest.approx(0.001 * 128 * 64 / 16)
    assert stylegan3.published("stylegan3-t", resolution=(64, 64), r1_gamma=0.5).r1_gamma == 0.5


@pytest.mark.parametrize(
    ("gpus", "batch", "at_once"), [(1, 32, 4), (8, 32, 4), (16, 32, 2), (2, 12, 3), (3, 32, None)]
)
def test_a_process_computes_no_more_at_once_than_the_published_ones(gpus, batch, at_once):
    config = stylegan3.published("stylegan3-t", resolution=(512, 512), gpus=gpus, batch=batch)
    assert config.batch_gpu == at_once
    assert config.model.mbstd_group == min(4, at_once or 4)


def networks(config):
    torch.manual_seed(0)
    G, D = Generator(config.model).double(), Discriminator(config.model).double()
    with torch.no_grad():  # biases start at 0, and would hide what is done to them
        for network in (G, D):
            for key, p in network.named_parameters():
                if key.endswith(".bias") and "affine" not in key:
                    p.normal_().mul_(0.1)
    return G, D


@pytest.mark.parametrize(("name", "c_dim"), CASES)
def test_five_steps_are_the_published_ones(name, c_dim):
    """Losses, every parameter and buffer of G, D and G_ema, ADA's p; the blur of R fades out."""
    config = small(name, c_dim, **(FADE if name == "stylegan3-r" else {}))
    found = largest_differences(config, *networks(config), c_dim)
    assert found.keys() >= {"Loss/G", "Loss/D", "Loss/r1", "G", "D", "G_ema", "p"}
    for key, difference in found.items():
        assert difference <= 1e-12, f"{key}: {difference}"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"penalty_at": "augmented"}, "Loss/r1"),
        ({"update_emas": "all"}, "G"),
        ({"blur_init_sigma": 9.0}, "Loss/D"),
        ({"blur_fade_kimg": 0.025}, "D"),
        ({"d_optimizer": {"lr": 0.0025}}, "D"),
    ],
)
def test_another_setting_is_seen(change, where):
    config = small("stylegan3-r", **FADE)
    found = largest_differences(config, *networks(config), steps=2, **change)
    assert found[where] > 1e-6, found
