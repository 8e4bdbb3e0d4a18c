# SPDX-License-Identifier: Apache-2.0
"""A resumed training remembers the looks before it; its numbers do not depend on them."""

import dataclasses
import json
import warnings

import pytest
import torch
from torch import nn

from fastgan.training import TrainStep, digest
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint import file as checkpoint_file
from fastgan.training.loop import loop
from fastgan.training.loop.observer import Observer
from fastgan.training.step.health import readings, watch
from fastgan.training.step.health.rules import Words
from fastgan.training.step.health.watch import HealthWarning, HealthWatch


class Alarms(Observer):
    def __init__(self):
        self.kinds = []

    def on_alarm(self, alarm):
        self.kinds.append((alarm.kind, alarm.is_over))


@pytest.fixture
def run(tiny, monkeypatch, tmp_path):
    """run(kimg, resume=, read=): (state, alarms); looks at each second step."""
    monkeypatch.setattr(loop, "build_state", tiny.state)
    monkeypatch.setattr(watch, "LOOK_EVERY", 2)
    original = readings.Probe.read

    def call(kimg, resume=None, diversity=lambda step: 0.9, folder="run"):
        def read(self, batch):
            reading = original(self, batch)
            return dataclasses.replace(reading, diversity=diversity(reading.step))

        monkeypatch.setattr(readings.Probe, "read", read)
        config = tiny.config(total_kimg=kimg, tick_kimg=0.016, snapshot_every_ticks=1)
        alarms = Alarms()
        state = loop.train(
            config, tmp_path / folder, loader=tiny.Loader(config), observers=[alarms], resume=resume
        )
        return state, alarms.kinds

    return call


def falls(step):
    """From step 8 on, samples are alike."""
    return 0.9 if step < 8 else 0.01


def test_a_collapse_against_looks_before_the_resumption_is_seen(run, tmp_path):
    run(0.032)
    newest = checkpoint.latest(tmp_path / "run")
    state, kinds = run(0.08, resume=newest, diversity=falls)
    assert ("collapse", False) in kinds
    assert "collapse" in state.standing


def test_a_fault_that_stood_still_stands_and_is_told_once(run, tmp_path):
    state, kinds = run(0.064, diversity=falls)
    assert ("collapse", False) in kinds
    newest = checkpoint.latest(tmp_path / "run")
    state, kinds = run(0.08, resume=newest, diversity=falls)
    assert ("collapse", False) not in kinds
    assert "collapse" in state.standing
    assert ("collapse", True) in run(0.16, resume=newest)[1], "it is over after eight calm looks"


def test_numbers_do_not_depend_on_the_looks_and_older_checkpoints_load(run, tmp_path):
    state, _ = run(0.08, folder="whole")
    run(0.048)
    newest = checkpoint.latest(tmp_path / "run")
    assert digest(run(0.08, resume=newest)[0]) == digest(state)
    path = newest.with_suffix(".json")
    document = json.loads(path.read_text())
    assert document.pop("health")["looks"] == 6
    document["sha256"] = checkpoint_file._document_hash(document)
    path.write_text(json.dumps(document))
    assert digest(run(0.08, resume=newest)[0]) == digest(state)


def test_a_history_is_json_and_comes_back(tiny):
    state = tiny.state(tiny.config())
    first, second = (HealthWatch(state, Words.of_config()) for _ in range(2))
    batch = torch.zeros(8, *tiny.Loader(tiny.config()).batch_at(0)[0].shape[1:])
    first.before_step(readings.Batch(x=batch))
    history = json.loads(json.dumps(first.history(), allow_nan=False))
    state.step = 1
    second.restore(history)
    assert second.standing == first.standing == ("constant-data",)
    assert second.history() == history
    third = HealthWatch(state, Words.of_config())
    for other in ({}, history | {"version": 0}):
        third.restore(other)
        assert third.readings == []
    state.step = 0
    third.restore(history)
    assert third.readings == [], "a look at the step that comes again is left out"


def test_train_step_saves_and_loads_its_looks():
    def make():
        torch.manual_seed(0)
        G, D = nn.Linear(4, 6), nn.Linear(6, 1)
        return TrainStep(G, D, latent_shape=4, batch=8)

    step = make()
    with pytest.warns(HealthWarning, match="constant-data"):
        step(torch.zeros(8, 6))
    saved = step.state_dict()
    other = make()
    other.load_state_dict(saved)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # constant-data stands, and is not told again
        other(torch.zeros(8, 6))
    assert "constant-data" in other.standing
    del saved["health"]  # as an earlier fastgan wrote it
    other.load_state_dict(saved)
    assert other.standing == ()


def test_no_gradient_is_not_told_of_a_process_that_has_made_no_step(tiny):
    """Buffers of gradients are zero then, also in the middle of a run."""
    state = tiny.state(tiny.config())
    state.step = 50
    health = HealthWatch(state, Words.of_config())
    for _ in range(2):
        health.before_step(readings.Batch(x=tiny.Loader(tiny.config()).batch_at(0)[0]))
    assert "no-gradient" not in health.standing
