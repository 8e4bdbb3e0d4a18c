# SPDX-License-Identifier: Apache-2.0
"""Runs of networks with random weights: faces with styles, of three classes, and one without."""

import pytest
import torch


def make_run(folder, cfg, c_dim=0, **model):
    from fastgan.training import build_state, load_recipe
    from fastgan.training.checkpoint import checkpoint

    config = load_recipe(cfg)(resolution=(16, 16), c_dim=c_dim)
    state = build_state(config.with_changes(model=model))
    if hasattr(state.G_ema, "mapping"):
        state.G_ema.mapping.w_avg.normal_()
    checkpoint.save(state, folder)
    return folder


SMALL = {
    "z_dim": 8, "w_dim": 12, "g_channel_base": 64, "d_channel_base": 64, "g_has_full_size": False,
}  # fmt: skip


@pytest.fixture(scope="session")
def styled(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("styled") / "00000-faces", "faces", **SMALL)


@pytest.fixture(scope="session")
def of_classes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes") / "00000-faces"
    return make_run(folder, "faces", c_dim=3, **SMALL)


@pytest.fixture(scope="session")
def without_noise(tmp_path_factory):
    folder = tmp_path_factory.mktemp("without_noise") / "00000-stylegan3"
    small = {"z_dim": 8, "w_dim": 12, "channel_max": 8, "d_channel_max": 8}
    return make_run(folder, "stylegan3-small", **small)


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("plain") / "00000-mlp", "mlp", g_hidden=(16,))


@pytest.fixture
def network(styled):
    from fastgan.control import SteerableGenerator

    torch.manual_seed(0)
    return SteerableGenerator.load(styled)
