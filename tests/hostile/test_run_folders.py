# SPDX-License-Identifier: Apache-2.0
"""Run folders that somebody else made: every command says what is wrong, without a traceback."""

import json
import shutil

import pytest
import torch
from click.testing import CliRunner

from fastgan import cli
from fastgan.models.mlp import Config
from fastgan.training.checkpoint import checkpoint, file
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.state import build_state

MODEL = Config(z_dim=3, img_height=4, img_width=4, g_hidden=(5,), d_hidden=(5,))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run's folder, intact."""
    torch.manual_seed(0)
    state = build_state(TrainConfig(name="tiny", architecture="mlp", batch=4, model=MODEL))
    folder = tmp_path_factory.mktemp("runs") / "00000-tiny"
    checkpoint.save(state, folder)
    return folder


def with_config(**changes):
    def change(document):
        return document | {"config": document["config"] | changes}

    return change


def with_model(**changes):
    def change(document):
        model = document["config"]["model"] | changes
        return document | {"config": document["config"] | {"model": model}}

    return change


DAMAGES = {
    "null": lambda document: None,
    "a list": lambda document: [document],
    "no counters": lambda document: document | {"counters": None},
    "no config": lambda document: document | {"config": None},
    "no architecture": with_config(architecture=None),
    "an architecture of elsewhere": with_config(architecture="../../os"),
    "a batch of null": with_config(batch=None),
    "a batch of words": with_config(batch="many"),
    "data of null": with_config(data=None),
    "a modality of elsewhere": with_config(data={"modality": "os.path"}),
    "an image of terabytes": with_model(img_height=2**20, img_width=2**20),
    "an image of a huge number": with_model(img_height=10**300),
    "layers without end": with_model(g_hidden=[1] * 10**5),
    "sizes of null": with_model(g_hidden=[None]),
    "a tensor file of another size": lambda document: document | {"tensors": {"size": -1}},
}
COMMANDS = (
    ("generate", "--network", "RUN", "--outdir", "OUT"),
    ("train", "--resume", "RUN", "-n"),
    ("evaluate", "RUN"),
    ("export", "RUN", "--to", "nvidia", "--out", "OUT/a.safetensors"),
    ("onnx", "RUN", "OUT/a.onnx"),
)


# A dry run says what a run would need, and reads no tensor.
SIZES_ALONE = ("an image of terabytes", "layers without end")
CASES = [
    (damage, command)
    for damage in DAMAGES
    for command in COMMANDS
    if command[0] != "train" or damage not in SIZES_ALONE
]


@pytest.mark.parametrize(("damage", "command"), CASES, ids=lambda value: str(value)[:40])
def test_a_checkpoint_with_a_right_hash_and_another_form(whole, command, damage, tmp_path):
    run = shutil.copytree(whole, tmp_path / "00000-tiny")
    path = next((run / "checkpoints").glob("*.json"))
    changed = DAMAGES[damage](json.loads(path.read_text()))
    if isinstance(changed, dict):
        changed.pop("sha256")
        changed["sha256"] = file._document_hash(changed)
    path.write_text(json.dumps(changed))
    words = [w.replace("RUN", str(run)).replace("OUT", str(tmp_path / "out")) for w in command]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Error: " in result.output
    assert not (tmp_path / "out").exists()
