# SPDX-License-Identifier: Apache-2.0
"""The images that a run never trains on, by which its discriminator's overfitting is seen."""

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.modalities import load_modality
from fastgan.modalities.images import data as images_data
from fastgan.models.mlp import Config
from fastgan.training import load_recipe
from fastgan.training.checkpoint.file import read_document
from fastgan.training.config.run import DataConfig
from fastgan.training.loop import loop
from fastgan.training.loop.observer import Observer
from fastgan.training.step.health import watch

MODEL = Config(img_channels=1, img_height=4, img_width=4)


@pytest.fixture
def folder(tmp_path):
    """40 images, image i of the one value 5·i."""
    for i in range(40):
        Image.fromarray(np.full((4, 4), 5 * i, dtype=np.uint8)).save(tmp_path / f"{i:02d}.png")
    return tmp_path


def values(x):
    return set(((x[:, 0, 0, 0] + 1) * 127.5 / 5).round().int().tolist())


def test_what_max_images_leaves_out_is_held_out(folder):
    data = DataConfig(path=str(folder), max_images=20)
    x, c = load_modality("images").held_out(data, MODEL, 64)
    assert (x.shape, x.dtype, c.shape) == ((20, 1, 4, 4), torch.float32, (20, 0))
    trained = images_data.open_data(data, MODEL)
    seen = {int(trained[i][0].max()) // 5 for i in range(len(trained))}
    assert values(x) == set(range(40)) - seen
    assert len(values(x)) == 20
    some, _ = load_modality("images").held_out(data, MODEL, 16)
    assert len(values(some)) == 16
    assert values(some) < values(x)


@pytest.mark.parametrize("max_images", [None, 30, 40, 50])
def test_fewer_than_16_others_are_none(folder, max_images):
    data = DataConfig(path=str(folder), max_images=max_images)
    assert load_modality("images").held_out(data, MODEL, 64) is None


def test_large_images_are_fewer(folder, monkeypatch):
    monkeypatch.setattr(images_data, "_HELD_OUT_BYTES", 17 * 64)
    data = DataConfig(path=str(folder), max_images=5)
    assert len(load_modality("images").held_out(data, MODEL, 64)[0]) == 17


def test_other_samples_have_none_held_out():
    assert load_modality("words").held_out(DataConfig(modality="words"), None, 64) is None


def test_a_run_looks_at_them(folder, monkeypatch, tmp_path):
    """The readings of its looks have r_v and the passes over the data set."""

    class Keep(Observer):
        def on_snapshot(self, snapshot):
            self.checkpoint = snapshot.checkpoint

    monkeypatch.setattr(watch, "LOOK_EVERY", 2)
    config = load_recipe("mlp")(
        resolution=(4, 4), img_channels=1, batch=8, total_kimg=0.04, seed=0
    ).with_changes(
        data={"path": str(folder), "max_images": 20},
        model={"g_hidden": (16,), "d_hidden": (16,)},
    )
    keep = Keep()
    loop.train(config, tmp_path / "run", observers=[keep])
    health = read_document(keep.checkpoint)["health"]
    assert health["readings"]["num_held_out"] == [0, 20, 20]
    assert health["readings"]["passes"] == [0, 0.8, 1.6]
