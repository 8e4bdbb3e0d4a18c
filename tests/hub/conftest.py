# SPDX-License-Identifier: Apache-2.0
"""A run of a few steps, whose settings name folders of a person's, and a Hub in memory."""

import getpass
import json
import sys
from pathlib import Path

import pytest
import torch

from fastgan.models import mlp
from fastgan.training.checkpoint import checkpoint
from fastgan.training.config.run import DataConfig, InitConfig, TrainConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import build_state

sys.path.insert(0, str(Path(__file__).parent))  # for hub_stand_in


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Look, don't touch."""
    folder = tmp_path_factory.mktemp("trained") / "00000-run"
    model = mlp.Config(img_height=8, img_width=8, z_dim=5, g_hidden=(8,), d_hidden=(8,))
    data = DataConfig(
        path="/srv/secret-disk/photos.zip",
        options={"more": ["C:\\Users\\hidden-folder\\labels.csv", f"~/{getpass.getuser()}"]},
    )
    config = TrainConfig(
        name="mlp", architecture="mlp", model=model, batch=4, data=data,
        init_from=InitConfig(path="/srv/secret-disk/hidden-folder/ckpt.safetensors", sha256="0"),
    )  # fmt: skip
    state = build_state(config)
    for _ in range(2):
        train_step(state, Batch(x=torch.rand(4, *model.sample_shape)))
    path = checkpoint.save(state, folder)
    rows = [
        {"metric": "kid_lite0", "results": {"kid_lite0": 2.5}, "kimg": 0.004, "checkpoint": "old"},
        {"metric": "kid_lite0", "results": {"kid_lite0": 1.25}, "interval": [1.0, 1.5],
         "num_fake": 1000, "num_real": 900, "extractor": "EfficientNet-Lite0", "resize": "bicubic",
         "kimg": 0.008, "checkpoint": path.name, "data": "/srv/secret-disk/photos.zip"},
    ]  # fmt: skip
    rows.append(rows[-1] | {"truncation_psi": 0.5, "results": {"kid_lite0": 7.5}})
    lines = "\n".join([*map(json.dumps, rows), "{damaged"])
    (folder / "metric-kid_lite0.jsonl").write_text(lines)
    (folder / "log.txt").write_text("data set: /srv/secret-disk/photos, 900 samples\n")
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    from hub_stand_in import StandIn

    stand_in = StandIn(tmp_path / "cache")
    stand_in.install(monkeypatch)
    return stand_in
