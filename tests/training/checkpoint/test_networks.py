# SPDX-License-Identifier: Apache-2.0
"""`fastgan.load`."""

import json

import pytest
import torch

import fastgan
from fastgan.models import mlp
from fastgan.models.vocoders import hifigan
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint.checkpoint import CheckpointError, load_generator
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import build_state

NETWORKS = ("G", "G_ema", "D")


@pytest.fixture
def trained(tmp_path):
    """A state after three steps of 4, and its checkpoint."""
    model = mlp.Config(img_height=8, img_width=8, z_dim=5, g_hidden=(8,), d_hidden=(8,))
    state = build_state(TrainConfig(name="x", architecture="mlp", model=model, batch=4))
    for _ in range(3):
        train_step(state, Batch(x=torch.rand(4, *model.sample_shape)))
    return state, checkpoint.save(state, tmp_path / "run")


def test_a_run_gives_its_networks_and_what_is_known_of_them(trained, tmp_path):
    state, path = trained
    for source in (tmp_path / "run", str(tmp_path / "run"), path, path.with_suffix(".json")):
        run = fastgan.load(source)
        assert (run.path, run.architecture, run.config) == (path, "mlp", state.config)
        assert run.kimg == 0.012
        for name in NETWORKS:
            network = getattr(run, name)
            theirs = getattr(state, name).state_dict()
            assert all(torch.equal(t, theirs[key]) for key, t in network.state_dict().items())
            assert not any(module.training for module in network.modules())
            assert not any(p.requires_grad for p in network.parameters())
    z = torch.randn(2, 5)
    assert torch.equal(run.G_ema(z), state.G_ema(z))
    assert not torch.equal(run.G(z), run.G_ema(z))
    assert {p.device.type for p in fastgan.load(path, device="meta").D.parameters()} == {"meta"}


def test_a_d_that_the_imported_file_did_not_have_is_none(trained, tmp_path):
    for file, has_d in (({"dtypes": {"G_ema": {}}}, False), ({"dtypes": {"D": {}}}, True)):
        (tmp_path / "run" / "imported.json").write_text(json.dumps(file))
        run = fastgan.load(tmp_path / "run")
        assert run.G is not None
        assert (run.D is not None) is has_d
    (tmp_path / "run" / "imported.json").write_text("[]")
    with pytest.raises(
        CheckpointError, match=r"imported\.json is not what `fastgan import` writes"
    ):
        fastgan.load(tmp_path / "run")


def test_the_folder_of_a_single_network_is_loaded_too(trained, tmp_path):
    state, _ = trained
    config = hifigan.Config(
        upsample_rates=(2,), upsample_kernel_sizes=(4,), upsample_initial_channel=4
    )
    voice = hifigan.Generator(config)
    voice.save_pretrained(tmp_path / "voice")
    found = fastgan.load(tmp_path / "voice")
    assert (found.architecture, found.path) == ("vocoders.hifigan", tmp_path / "voice")
    assert (found.G.config, found.G.training) == (config, False)
    assert all(torch.equal(t, found.G.state_dict()[n]) for n, t in voice.state_dict().items())
    assert [found.G_ema, found.D, found.config, found.kimg] == [None] * 4
    state.D.save_pretrained(tmp_path / "critic")
    found = fastgan.load(tmp_path / "critic")
    assert (found.architecture, found.G) == ("mlp", None)
    assert torch.equal(*(next(D.parameters()) for D in (found.D, state.D)))


def test_what_cannot_be_loaded_is_named(trained, tmp_path):
    with pytest.raises(CheckpointError, match=r"fastgan\.load: there is nothing at nowhere; exp"):
        fastgan.load("nowhere")
    (tmp_path / "G.pkl").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"G\.pkl is a file of another project; .* import"):
        fastgan.load(tmp_path / "G.pkl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="empty holds no intact checkpoint"):
        fastgan.load(tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text(
        json.dumps({"architecture": "os", "network": 1})
    )
    with pytest.raises(ValueError, match=r"empty/config\.json is not one that save_pretrained"):
        fastgan.load(tmp_path / "empty")
    _, path = trained
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="is damaged"):
        fastgan.load(path)


@pytest.mark.parametrize("path", [3, None, b"run"])
def test_a_path_of_another_type_is_named(path):
    with pytest.raises(
        TypeError, match=r"fastgan\.load: path must be a str or a pathlib\.Path, got"
    ):
        fastgan.load(path)


@pytest.mark.parametrize("device", ["frob", "cuda:99", 3.5])
@pytest.mark.parametrize("load", [fastgan.load, load_generator])
def test_a_device_that_is_not_there_is_named(load, device, trained, tmp_path):
    with pytest.raises(ValueError, match=rf"device must be cpu, .*, got '?{device}'? \(") as found:
        load(tmp_path / "run", device=device)
    assert "\n" not in str(found.value)
