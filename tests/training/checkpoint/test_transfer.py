# SPDX-License-Identifier: Apache-2.0
"""A run that starts with other weights: what is copied, what is new, what is refused."""

import dataclasses

import pytest
import torch

from fastgan.models import light_skip_gan, r3gan, stylegan2, stylegan3
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint.checkpoint import CheckpointError
from fastgan.training.checkpoint.transfer import copy_weights, plan_copy, start_from
from fastgan.training.config.run import (
    AugmentConfig,
    DataConfig,
    EmaConfig,
    OptimizerConfig,
    TrainConfig,
)
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import build_state

MODELS = {
    "stylegan2": (stylegan2.Config, {
        "z_dim": 5, "w_dim": 6, "channel_base": 64, "channel_max": 8, "mapping_layers": 2,
        "d_mapping_layers": 1,
    }),
    "stylegan3": (stylegan3.Config, {
        "z_dim": 5, "w_dim": 6, "channel_base": 128, "channel_max": 8, "num_layers": 3,
        "num_critical": 1, "d_channel_base": 64, "d_channel_max": 8, "d_mapping_layers": 1,
    }),
    "r3gan": (r3gan.Config, {
        "z_dim": 5, "widths": (16, 8, 8), "blocks": (1, 1, 1), "groups": (2, 2, 2),
    }),
    "light_skip_gan": (light_skip_gan.Config, {"z_dim": 5, "w_dim": 6, "channel_max": 8}),
}  # fmt: skip

FIRST = {"r3gan": "Model.MainLayers.0.Layers.0.LinearLayer.weight"}


def config_of(architecture="stylegan2", *, size=16, c_dim=0, fields=None, **changes):
    kind, small = MODELS[architecture]
    model = kind(**small | {"img_height": size, "img_width": size, "c_dim": c_dim}, **fields or {})
    settings = {"data": DataConfig(use_labels=c_dim > 0), "batch": 4} | changes
    return TrainConfig(name="x", architecture=architecture, model=model, **settings)


def saved(config, folder):
    """The state after two steps, and its checkpoint: G and its average differ."""
    state = build_state(config)
    c = torch.eye(config.model.c_dim)[torch.zeros(4, dtype=int)] if config.model.c_dim else None
    shape = [4, config.model.img_channels, config.model.img_height, config.model.img_width]
    for _ in range(2):
        train_step(state, Batch(x=torch.rand(shape) * 2 - 1, c=c))
    return state, checkpoint.save(state, folder)


def started(config, path):
    config = start_from(config, path)
    state = build_state(config)
    return state, copy_weights(state)


@pytest.mark.parametrize("architecture", MODELS)
def test_equal_sizes_copy_every_tensor_and_no_counter(architecture, tmp_path):
    old, path = saved(config_of(architecture), tmp_path)
    for source in (path, path.with_suffix(".json"), tmp_path, str(tmp_path)):
        config = start_from(config_of(architecture, seed=5), source)
        assert config.init_from.path == str(path.resolve())
    state, copied = started(config_of(architecture, seed=5), path)
    for network in ("G", "G_ema", "D"):
        theirs = getattr(old, network).state_dict()
        for name, tensor in getattr(state, network).state_dict().items():
            assert torch.equal(tensor, theirs[name]), (network, name)
    assert (state.step, state.nimg, state.pl_mean) == (0, 0, 0)
    assert not any(m.any() for o in (state.g_optimizer, state.d_optimizer)
                   for m in (o.exp_avg, o.exp_avg_sq, o.steps))  # fmt: skip
    assert copied.copied == copied.total
    assert copied.lines[0].endswith(" parameters of D, and the average of G")
    assert copied.lines[1:] == ("newly initialised: nothing", "left out: nothing")
    state.g_optimizer.check()
    state.d_optimizer.check()
    train_step(state, Batch(x=torch.zeros(4, 3, 16, 16)))


def test_sizes_are_those_of_the_weights_and_settings_those_of_the_configuration(tmp_path):
    old, path = saved(config_of(fields={"mbstd_group": 2, "conv_clamp": 256.0}), tmp_path)
    config = config_of(
        fields={"d_architecture": "orig", "mapping_lr_multiplier": 0.5},
        g_optimizer=OptimizerConfig(lr=0.5), r1_gamma=7.0, d_reg_interval=16, batch=8, seed=3,
        augment=AugmentConfig(mode="ada", target=0.7), ema=EmaConfig(half_life_kimg=3.0),
        blur_init_sigma=10.0, blur_fade_kimg=50.0,
    )  # fmt: skip
    found = start_from(config, path)
    assert found.model == old.config.model
    assert (found.augment.ada_kimg, found.ema.rampup_ratio) == (100, None)
    assert (found.blur_init_sigma, found.blur_fade_kimg) == (0, 0)
    assert (found.augment.target, found.ema.half_life_kimg) == (0.7, 3.0)
    changed = {"model", "augment", "ema", "init_from", "blur_init_sigma", "blur_fade_kimg"}
    rest = {f.name for f in dataclasses.fields(config)} - changed
    assert all(getattr(found, name) == getattr(config, name) for name in rest)
    assert TrainConfig.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(("before", "after"), [(16, 32), (32, 16), (16, 8)])
@pytest.mark.parametrize("kind", ["skip", "resnet", "orig"])
def test_another_image_size_keeps_the_blocks_that_both_have(before, after, kind, tmp_path):
    fields = {"g_architecture": kind, "d_architecture": kind}
    old, path = saved(config_of(size=before, fields=fields), tmp_path)
    state, copied = started(config_of(size=after, seed=5), path)
    fresh = build_state(state.config)
    assert state.config.model.img_height == after
    for network in ("G", "G_ema", "D"):
        theirs = getattr(old, network).state_dict()
        initial = getattr(fresh, network).state_dict()
        for name, tensor in getattr(state, network).state_dict().items():
            assert torch.equal(tensor, theirs[name] if name in theirs else initial[name]), name
    larger, smaller = sorted((before, after))[::-1]
    here, there = (copied.new, copied.left_out) if after > before else (copied.left_out, copied.new)
    assert {f"G.synthesis.b{larger}", f"D.b{larger}"} <= set(here)
    alone = [] if kind == "skip" else [f"G.synthesis.b{smaller}.torgb", f"D.b{smaller}.fromrgb"]
    assert sorted(there) == sorted(alone)
    train_step(state, Batch(x=torch.zeros(4, 3, after, after)))


@pytest.mark.parametrize(("size", "widths"), [(8, (8, 6)), (32, (8, 6, 4, 4))])
def test_widths_of_single_sizes_stay_and_a_new_size_has_those_of_the_last(size, widths, tmp_path):
    fields = {"widths": (8, 6, 4), "d_widths": (9, 7, 5)}
    _, path = saved(config_of(fields=fields), tmp_path)
    state, copied = started(config_of(size=size), path)
    assert state.config.model.widths == widths
    assert state.config.model.d_widths == tuple(n + 1 for n in widths)
    assert "G.synthesis.b8" not in copied.new


@pytest.mark.parametrize("architecture", MODELS)
@pytest.mark.parametrize(("before", "after"), [(0, 3), (3, 0), (3, 2)])
def test_another_number_of_classes_keeps_what_z_does(architecture, before, after, tmp_path):
    old, path = saved(config_of(architecture, c_dim=before), tmp_path)
    state, copied = started(config_of(architecture, c_dim=after, seed=5), path)
    z = torch.randn(6, 5)
    c = torch.eye(after)[torch.arange(6) % after] if after else None
    first = FIRST.get(architecture, "mapping.fc0.weight")
    with torch.no_grad():
        if after == 0:  # as if the embedded class were 0
            old.G_ema.get_parameter(first)[:, 5:] = 0
        shown = torch.eye(before)[torch.arange(6) % before] if before else None
        if before == 0 or after == 0:
            pictures = [
                old.G_ema(z, shown, noise_mode="const"),
                state.G_ema(z, c, noise_mode="const"),
            ]
            torch.testing.assert_close(*pictures, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(*(G.get_parameter(first) for G in (state.G_ema, old.G_ema)))
    assert (copied.refitted == (f"G.{first}",)) is (0 in (before, after))
    assert any("mbed" in name for name in (copied.new if after else copied.left_out))
    train_step(state, Batch(x=torch.zeros(4, 3, 16, 16), c=None if c is None else c[:4]))


def test_another_number_of_channels_renews_the_layers_at_the_image(tmp_path):
    _, path = saved(config_of(), tmp_path)
    _, copied = started(config_of(fields={"img_channels": 1}), path)
    names = {f"G.synthesis.b{n}.torgb.{p}" for n in (4, 8, 16) for p in ("weight", "bias")}
    assert set(copied.new) == names | {"D.b16.fromrgb.weight"}


def test_what_does_not_fit_is_refused_by_name(tmp_path):
    _, path = saved(config_of(), tmp_path / "2")
    _, other = saved(config_of("stylegan3"), tmp_path / "3")
    with pytest.raises(ValueError, match="weights of stylegan3, and the configuration x is of st"):
        start_from(config_of(), other)
    with pytest.raises(ValueError, match=r"16x16 pixels, .* have 32x32; .*--resolution 16x16"):
        start_from(config_of("stylegan3", size=32), other)
    with pytest.raises(ValueError, match=r"78 of 1,838 parameters of G have a name and shape that"):
        plan_copy(start_from(config_of(size=24), path))
    config = start_from(config_of(size=32, d_frozen_layers=1), path)
    with pytest.raises(ValueError, match=r"d_frozen_layers=1 .* would keep D\.b32\.fromrgb as it"):
        plan_copy(config)
    with pytest.raises(CheckpointError, match="holds no intact checkpoint"):
        start_from(config_of(), tmp_path)


def test_a_d_that_the_imported_file_did_not_have_is_new(tmp_path):
    old, path = saved(config_of(), tmp_path)
    (tmp_path / "imported.json").write_text('{"dtypes": {"G_ema": {}}}')
    state, copied = started(config_of(seed=5), path)
    assert copied.new == ("D",)
    fresh = build_state(state.config).D.state_dict()
    assert all(torch.equal(t, fresh[name]) for name, t in state.D.state_dict().items())
    assert torch.equal(state.G.mapping.fc0.weight, old.G.mapping.fc0.weight)
    with pytest.raises(ValueError, match=r"has no D .*no layer can be frozen; set 0"):
        plan_copy(start_from(config_of(d_frozen_layers=1), path))


def test_the_weights_must_stay_what_they_were(tmp_path):
    _, path = saved(config_of(), tmp_path / "a")
    config = start_from(config_of(), path)
    _, other = saved(config_of(seed=1), tmp_path / "b")
    for suffix in (".safetensors", ".json"):
        path.with_suffix(suffix).write_bytes(other.with_suffix(suffix).read_bytes())
    with pytest.raises(CheckpointError, match="another file than when this run was configured"):
        copy_weights(build_state(config))


def test_frozen_layers_keep_the_weights_of_the_start(tmp_path):
    old, path = saved(config_of(), tmp_path)
    state, _ = started(config_of(d_frozen_layers=4, seed=5), path)
    for _ in range(2):
        train_step(state, Batch(x=torch.rand(4, 3, 16, 16)))
    theirs = old.D.state_dict()
    for name, p in state.D.named_parameters():
        assert torch.equal(p, theirs[name]) is name.startswith("b16."), name
