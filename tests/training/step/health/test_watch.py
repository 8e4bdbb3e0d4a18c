# SPDX-License-Identifier: Apache-2.0
"""Faults planted in a training are told by `TrainStep` and by a run, and act as asked."""

import dataclasses
import json
import math
import warnings

import pytest
import torch
from torch import nn

from fastgan.training import Batch, OptimizerConfig, TrainStep
from fastgan.training.loop import loop
from fastgan.training.loop.faults import TrainingDiverged
from fastgan.training.loop.health_policy import GO_BACK, HealthPolicy
from fastgan.training.loop.observer import Observer
from fastgan.training.report.log import RunLog
from fastgan.training.report.page import Report
from fastgan.training.step.health import readings, watch
from fastgan.training.step.health.rules import Words
from fastgan.training.step.health.watch import HealthWarning, HealthWatch


def make_step(hidden=64, **settings):
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(8, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 12))
    D = nn.Sequential(nn.Linear(12, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))
    settings = {"r1_gamma": 1.0, "batch": 32} | settings
    return TrainStep(G, D, latent_shape=8, **settings)


def told(step, batches):
    """Kinds that `TrainStep` warns of, in order."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for x in batches:
            step(x)
    assert all(w.category is HealthWarning for w in caught)
    assert all(w.filename == __file__ for w in caught), "a warning must name the caller's line"
    return [str(w.message).split(": ")[1] for w in caught]


def real_samples(steps, n=32):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(n, 12, generator=generator) * 0.5 + 1 for _ in range(steps)]


@pytest.mark.slow
def test_a_healthy_training_is_silent():
    assert told(make_step(), real_samples(400)) == []


@pytest.mark.parametrize(
    ("settings", "steps", "kinds"),
    [
        ({"g_optimizer": {"lr": 1.0}, "d_optimizer": {"lr": 1.0}}, 26, {"G-grows", "D-grows"}),
        ({"g_optimizer": {"lr": 1e-9}}, 51, {"G-still"}),
        ({"d_optimizer": {"lr": 1e-9}}, 51, {"D-still"}),
        ({"r1_gamma": 1e6}, 151, {"D-wrong"}),
    ],
    ids=["lr 1", "lr of G 1e-9", "lr of D 1e-9", "gamma 1e6"],
)  # fmt: skip
def test_a_faulty_setting_is_told_soon(settings, steps, kinds):
    settings = {
        name: OptimizerConfig(**value) if isinstance(value, dict) else value
        for name, value in settings.items()
    }
    found = told(make_step(**settings), real_samples(steps))
    assert kinds <= set(found)
    assert len(found) == len(set(found)), "each fault is told once"


@pytest.mark.parametrize(
    ("change", "kind", "steps"),
    [
        (lambda x: torch.full_like(x, -1), "constant-data", 1),
        (lambda x: x[:2].repeat(16, 1), "repeated-data", 26),
        (lambda x: torch.full_like(x, float("nan")), "skipped-updates", 51),
    ],
    ids=["black", "two", "NaN"],
)
def test_faulty_data_are_told(change, kind, steps):
    first = real_samples(1)[0]
    found = told(make_step(), [change(first)] * steps)
    assert kind in found


def test_before_the_first_step_the_data_are_looked_at():
    assert told(make_step(), [torch.zeros(32, 12)])[0] == "constant-data"


def test_a_step_that_is_not_watched_is_silent():
    assert told(make_step(watch_health=False), [torch.zeros(32, 12)] * 3) == []


def test_a_d_that_knows_16_samples_by_heart_is_told(monkeypatch):
    monkeypatch.setattr(watch, "LOOK_EVERY", 5)
    first, held_out = real_samples(1, n=16)[0], real_samples(3, n=64)[2]
    adam = OptimizerConfig(lr=2e-3, betas=(0.0, 0.99))
    step = make_step(
        hidden=256, held_out=held_out, batch=16, r1_gamma=0.0, g_optimizer=adam, d_optimizer=adam
    )
    assert "D-overfits" in told(step, [first] * 171)


@pytest.mark.slow
def test_a_d_that_sees_ever_new_samples_does_not_overfit():
    held_out = real_samples(1001, n=64)[1000]
    assert told(make_step(held_out=held_out), real_samples(1000)) == []


@pytest.mark.parametrize(
    ("held_out", "words"),
    [
        (torch.zeros(64, 3), r"like those of x, \[12\] torch.float32 on cpu, got \[3\]"),
        (torch.zeros(64, 12).double(), "got .* torch.float64"),
        (Batch(x=torch.zeros(64, 12), c=torch.zeros(64, 2)), "like those of c, none, got"),
    ],
)
def test_held_out_samples_must_be_like_the_others(held_out, words):
    with pytest.raises(ValueError, match=words):
        make_step(held_out=held_out)(real_samples(1)[0])


def test_a_fault_that_is_gone_is_over():
    step = make_step(watch_health=False)
    health = HealthWatch(step.state, Words.of_train_step())
    findings = []
    for x in [torch.zeros(32, 12)] + real_samples(225):
        findings += [f for f in health.before_step(Batch(x=x)) if f.kind == "constant-data"]
        step.state.step += 1  # a step that trains nothing
    assert [f.is_over for f in findings] == [False, True]
    assert "constant-data" not in health.standing


class Collapses(Observer):
    """Writes a last layer of G that ignores the latents, after step `at` and each later one."""

    def __init__(self, at, times=10**9):
        self.at, self.times, self.alarms, self.reasons = at, times, [], []

    def on_start(self, info):
        self.state = info.state

    def on_step(self, nimg):
        if self.state.step >= self.at and self.times > 0:
            self.times -= 1
            with torch.no_grad():
                for p in self.state.G.parameters():
                    p.zero_()

    def on_alarm(self, alarm):
        self.alarms.append(alarm)

    def on_end(self, reason):
        self.reasons.append(reason)


@pytest.fixture
def lively(tiny, monkeypatch):
    """Runs of tiny networks, looked at each second step, whose G is lively unless it is zero."""
    read = readings.Probe.read

    def lively_unless_zero(self, batch):
        is_zero = not any(bool(p.any()) for p in self._state.G.parameters())
        return dataclasses.replace(read(self, batch), diversity=0.0 if is_zero else 0.9)

    monkeypatch.setattr(loop, "build_state", tiny.state)
    monkeypatch.setattr(readings.Probe, "read", lively_unless_zero)
    monkeypatch.setattr(watch, "LOOK_EVERY", 2)
    return tiny.config(total_kimg=0.16, tick_kimg=0.016, snapshot_every_ticks=2)


@pytest.mark.parametrize(
    ("policy", "reason"), [("warn", "finished"), ("stop", "unhealthy"), ("rollback", None)]
)
def test_what_follows_a_collapse(lively, tiny, tmp_path, policy, reason):
    observer = Collapses(at=12, times=10**9 if policy != "rollback" else 4)
    state = loop.train(
        lively, tmp_path, loader=tiny.Loader(lively), on_collapse=policy,
        observers=[observer, RunLog(), Report()],
    )  # fmt: skip
    kinds = [a.kind for a in observer.alarms if not a.is_over]
    assert "collapse" in kinds
    text = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "ALARM collapse at kimg" in text
    rows = [json.loads(r) for r in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert "collapse" in [row.get("alarm") for row in rows]
    assert "<h2>Alarms</h2>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    if policy == "rollback":
        assert "rollback" in kinds
        assert observer.reasons == ["finished"]
    else:
        assert state.reason == reason
        assert "collapse" in state.standing
    assert (state.nimg < lively.total_nimg) == (policy == "stop")


def test_a_collapse_that_comes_back_ends_the_run(lively, tiny, tmp_path):
    with pytest.raises(TrainingDiverged, match="collapse"):
        loop.train(
            lively.with_changes(total_kimg=1.0), tmp_path, loader=tiny.Loader(lively),
            on_collapse="rollback", observers=[Collapses(at=12)],
        )  # fmt: skip


def test_several_ranks_go_back_once(tiny):
    """They hear of a wish one step later, when the rank that has it is at the next step."""

    class LateRanks:
        compare_every, pending = 10**9, 0

        def step_ended(self, step, *, wish):
            heard, self.pending = self.pending, wish
            return heard

    run = loop._Run.__new__(loop._Run)
    run.ranks, run.state = LateRanks(), tiny.state(tiny.config())
    run.begin, run.time_limit_sec = 0.0, math.inf
    run.health = HealthPolicy(
        run.state, Words.of_config(), "rollback", is_first=False, notify=lambda alarm: None
    )
    run.health.collapse = "collapse: few samples"
    run.state.step, heard = 1, []
    for _ in range(5):
        heard.append(run._wish(False))
        if heard[-1] == GO_BACK:
            run._restart_clocks()
    assert heard == [0, GO_BACK, 0, 0, 0]


def test_an_unknown_policy_is_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="on_collapse must be one of warn, stop, rollback"):
        loop.train(tiny.config(), tmp_path, on_collapse="maybe")
