# SPDX-License-Identifier: Apache-2.0
import copy
import hashlib
import json
import os
import resource
import subprocess

import pytest
import safetensors.torch
import torch

from fastgan.models.mlp import Config as MlpConfig
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint import file as checkpoint_file
from fastgan.training.checkpoint.checkpoint import CheckpointError
from fastgan.training.checkpoint.contents import digest
from fastgan.training.config.run import AugmentConfig, EmaConfig, TrainConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import build_state


@pytest.fixture
def config(tiny):
    """Everything that has a memory is on."""
    return tiny.config(
        r1_gamma=1.0,
        d_reg_interval=3,
        pl_weight=1.0,
        g_reg_interval=2,
        style_mixing_prob=0.5,
        ema=EmaConfig(half_life_kimg=1.0, rampup_ratio=0.5),
        augment=AugmentConfig(mode="ada", p=0.3, ada_kimg=0.1),
    )


def run(tiny, state, steps):
    for _ in range(steps):
        train_step(state, tiny.batch(state.config, state.nimg))


def rewrite(path, *, tensors=None, document=None):
    """Changes a checkpoint as a program with all its hashes would."""
    json_path = path.with_suffix(".json")
    values = json.loads(json_path.read_text())
    if tensors is not None:
        blob = safetensors.torch.save(tensors)
        path.write_bytes(blob)
        values["tensors"] = {"size": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}
    values.update(document or {})
    values["sha256"] = checkpoint_file._document_hash(values)
    json_path.write_text(json.dumps(values))


def test_every_saved_tensor_and_counter_is_asked_for(tiny, config, tmp_path):
    state = tiny.state(config)
    saved = checkpoint.save(state, tmp_path)
    tensors = safetensors.torch.load(saved.read_bytes())
    for name in tensors:
        rewrite(saved, tensors={k: v for k, v in tensors.items() if k != name})
        with pytest.raises(CheckpointError, match=f"missing {name}"):
            checkpoint.load(state, saved)
    rewrite(saved, tensors=tensors | {"extra": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="unknown extra"):
        checkpoint.load(state, saved)
    rewrite(saved, tensors=tensors | {"pl_mean": torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r"pl_mean is \(2,\).*expected \(\) torch.float32"):
        checkpoint.load(state, saved)
    counters = {"step": 0, "nimg": 0, "elapsed_sec": 0.0}
    rewrite(saved, tensors=tensors, document={"counters": counters})
    with pytest.raises(CheckpointError, match="expected elapsed_sec, nimg, step, tick"):
        checkpoint.load(state, saved)
    counters["tick"] = 0
    rewrite(saved, document={"counters": counters, "faults": {"lives": 9}})
    with pytest.raises(CheckpointError, match="has faults lives; expected calm_since, in_a_row"):
        checkpoint.load(state, saved)


def test_a_refused_checkpoint_changes_nothing(tiny, config, tmp_path):
    state = tiny.state(config)
    run(tiny, state, 2)
    saved = checkpoint.save(state, tmp_path)
    tensors = safetensors.torch.load(saved.read_bytes())
    rewrite(saved, tensors={k: v for k, v in tensors.items() if k != "stats.sums"})
    run(tiny, state, 1)
    before = digest(state)
    with pytest.raises(CheckpointError):
        checkpoint.load(state, saved)
    assert digest(state) == before


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"format": "zip"}, "is no fastgan-checkpoint file"),
        ({"extra": 1}, "missing: none; unknown: extra"),
        ({"fields": {"G": 1}}, "missing: D, G_ema, ada"),
        ({"fields": checkpoint_file.FIELDS | {"G": 2}}, "version 2 of field 'G'.*reads version 1"),
    ],
)
def test_unknown_formats_are_refused(tiny, config, tmp_path, document, message):
    state = tiny.state(config)
    saved = checkpoint.save(state, tmp_path)
    rewrite(saved, document=document)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(state, saved)


def damage_tensors(saved):
    data = bytearray(saved.read_bytes())
    data[-5] ^= 1
    saved.write_bytes(data)


def truncate_tensors(saved):
    saved.write_bytes(saved.read_bytes()[:-1])


def lose_tensors(saved):
    saved.unlink()


def damage_json(saved):
    path = saved.with_suffix(".json")
    path.write_text(path.read_text().replace('"nimg": ', '"nimg": 1'))


def dangle_json(saved):
    path = saved.with_suffix(".json")
    path.unlink()
    path.symlink_to("nowhere")


def truncate_json(saved):
    path = saved.with_suffix(".json")
    path.write_bytes(path.read_bytes()[:100])


DAMAGES = [damage_tensors, truncate_tensors, lose_tensors, damage_json, dangle_json, truncate_json]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_the_one_before_is_used(tiny, config, tmp_path, damage):
    state = tiny.state(config)
    older = checkpoint.save(state, tmp_path)
    state.nimg += 1000
    newer = checkpoint.save(state, tmp_path)
    assert checkpoint.latest(tmp_path) == newer
    damage(newer)
    with pytest.raises(CheckpointError, match=newer.stem):
        checkpoint.load(state, newer)
    with pytest.raises(CheckpointError, match=newer.stem):
        checkpoint.load_generator(newer)
    said = []
    assert checkpoint.latest(tmp_path, report=said.append) == older
    assert len(said) == 1
    assert newer.stem in said[0]
    with pytest.warns(RuntimeWarning, match=f"skipped .*{newer.stem}"):
        checkpoint.latest(tmp_path)


def test_nothing_to_load(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    with pytest.raises(CheckpointError, match="no intact checkpoint"):
        checkpoint.load_generator(tmp_path)
    with pytest.raises(CheckpointError, match=r"can't read .*No such file"):
        checkpoint.read_config(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"expected a .safetensors or .json file"):
        checkpoint.read_config(tmp_path / "x.pkl")


def test_full_disk_leaves_older_checkpoints_and_no_traces(tiny, config, tmp_path):
    state = tiny.state(config)
    older = checkpoint.save(state, tmp_path)
    files = sorted(tmp_path.rglob("*"))
    state.nimg += 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"could not write .*; 1 older .* intact"):
            checkpoint.save(state, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(tmp_path.rglob("*")) == files
    checkpoint.load(state, older)


@pytest.mark.parametrize("is_same_moment", [True, False])
@pytest.mark.parametrize("failing", range(4))
def test_a_crash_at_any_sync_keeps_an_intact_checkpoint(
    tiny, config, tmp_path, monkeypatch, failing, is_same_moment
):
    state = tiny.state(config)
    checkpoint.save(state, tmp_path)
    state.nimg += 1000
    checkpoint.save(state, tmp_path)
    if not is_same_moment:
        state.nimg += 1000
    calls, fsync = [], os.fsync

    def dying(handle):
        calls.append(handle)
        if len(calls) == failing + 1:
            raise KeyboardInterrupt
        fsync(handle)

    monkeypatch.setattr(os, "fsync", dying)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(state, tmp_path)
    monkeypatch.undo()
    assert checkpoint.latest(tmp_path) is not None
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_temporary_files_of_killed_processes_go(tiny, config, tmp_path):
    folder = tmp_path / "checkpoints"
    dead, other = (folder / f".writing-{pid}" for pid in (dead_process(), os.getppid()))
    for scratch in (dead, other):
        scratch.mkdir(parents=True)
        (scratch / ".tmpXY").write_bytes(b"half")
    (folder / "ckpt-000007.safetensors").write_bytes(b"killed before its JSON was there")
    saved = checkpoint.save(tiny.state(config), tmp_path)
    assert sorted(folder.iterdir()) == [other, saved.with_suffix(".json"), saved]


def dead_process():
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait(60)
    return process.pid


def test_the_same_moment_saves_the_same_bytes(tiny, config, tmp_path):
    state = tiny.state(config)
    first = checkpoint.save(state, tmp_path).read_bytes()
    assert checkpoint.save(state, tmp_path).read_bytes() == first


@pytest.mark.parametrize("is_ema", [True, False])
def test_load_generator(tmp_path, is_ema):
    config = TrainConfig(
        name="x",
        architecture="mlp",
        model=MlpConfig(z_dim=4, g_hidden=(5,), d_hidden=(5,), g_norm="batch", data_shape=(3,)),
        batch=4,
    )
    state = build_state(config)
    for _ in range(3):
        state_batch = torch.randn(4, 3)
        train_step(state, Batch(x=state_batch))
    saved = checkpoint.save(state, tmp_path)
    z = torch.randn(2, 4)
    expected = (state.G_ema if is_ema else copy.deepcopy(state.G).eval())(z)
    for place in (
        tmp_path,
        tmp_path / "checkpoints",
        saved,
        saved.with_suffix(".json"),
        str(saved),
    ):
        G, values = checkpoint.load_generator(place, ema=is_ema)
        assert torch.equal(G(z), expected)
        assert not G.training
        assert TrainConfig.from_dict(values) == config
    assert checkpoint.read_config(saved) == config


def test_another_network_is_refused_in_words(tiny, config, tmp_path):
    saved = checkpoint.save(tiny.state(config), tmp_path)
    wider = tiny.state(tiny.config(model=tiny.Config(z_dim=6)))
    with pytest.raises(CheckpointError, match=r"G.fc.weight is \(6, 5\).*expected \(6, 6\)"):
        checkpoint.load(wider, saved)
