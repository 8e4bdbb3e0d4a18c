# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import click
import pytest
import torch
from safetensors.torch import save_file

import fastgan
from fastgan.cli.run_folders import find_checkpoint
from fastgan.models import stylegan2
from fastgan.models.vocoders import hifigan
from fastgan.training.checkpoint.checkpoint import CheckpointError, checkpoint_of
from fastgan.training.checkpoint.other_kinds import advice_on

TINY = {"upsample_rates": (2,), "upsample_kernel_sizes": (4,), "upsample_initial_channel": 4}


def test_folders_of_single_networks_are_named(tmp_path):
    hifigan.Generator(hifigan.Config(**TINY)).save_pretrained(tmp_path / "voice")
    config = stylegan2.Config(img_height=8, img_width=8, channel_base=32, z_dim=4, w_dim=4)
    stylegan2.Discriminator(config).save_pretrained(tmp_path / "critic")
    voice, critic = advice_on(tmp_path / "voice"), advice_on(tmp_path / "critic")
    assert "voice is the folder of a vocoder (Generator of vocoders.hifigan), which" in voice
    assert f"fastgan.load('{tmp_path / 'voice'}')" in voice
    assert "critic is the folder of a Discriminator of stylegan2, and not a run" in critic


@pytest.mark.parametrize("name", ["network-snapshot-000100.pkl", "stylegan.pt", "G.pth", "g_025"])
def test_files_of_other_projects_are_named(name, tmp_path):
    path = tmp_path / "run" / name
    path.parent.mkdir()
    path.write_bytes(b"")
    for text in (advice_on(path), advice_on(path.parent)):
        assert f"{path} is a file of another project; convert it first: fastgan import" in text
    with pytest.raises(CheckpointError, match="convert it first: fastgan import"):
        checkpoint_of(path)


def test_a_folder_of_runs_is_named_and_others_are_not(tmp_path):
    (tmp_path / "runs" / "00003-x").mkdir(parents=True)
    (tmp_path / "runs" / "notes").mkdir()
    text = advice_on(tmp_path / "runs")
    assert text == f"{tmp_path / 'runs'} holds 1 runs; name one of them, such as " + str(
        Path(tmp_path / "runs" / "00003-x")
    )
    (tmp_path / "config.json").write_text('{"architecture": 3}')
    assert advice_on(tmp_path) == advice_on(tmp_path / "nowhere") == ""


def test_an_export_with_nvidias_names_is_named(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"G.b": torch.zeros(1)}, path, {"fastgan": "{}"})
    with pytest.raises(
        CheckpointError, match=r"a\.safetensors is a file of `fastgan export`; .* im"
    ):
        fastgan.load(path)
    with pytest.raises(click.BadParameter, match="convert it first: fastgan import"):
        find_checkpoint(str(path), tmp_path, flag="--network")
    save_file({"G.b": torch.zeros(1)}, path)
    assert advice_on(path) == ""
    path.write_bytes(b"broken")
    assert advice_on(path) == ""
