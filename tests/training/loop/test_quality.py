# SPDX-License-Identifier: Apache-2.0
"""Samples that get worse are told, by intervals of the first metric of several snapshots."""

import dataclasses
import json

import pytest

from fastgan.metrics import MetricResult
from fastgan.modalities import load_modality, modalities
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint.retention import Score
from fastgan.training.loop import loop
from fastgan.training.loop.quality import regression
from fastgan.training.report.log import RunLog
from fastgan.training.report.page import Report


def scores(*values, half=0.1):
    return [Score(float(i), v, (v - half, v + half)) for i, v in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "lower", "is_told"),
    [
        ([3.0, 1.0, 1.5, 1.6, 1.7], True, True),
        ([3.0, 1.0, 1.5, 1.6, 1.15], True, False),  # the newest may be as good
        ([3.0, 1.0, 1.5, 1.6], True, False),  # two are not enough
        ([3.0, 2.0, 1.5, 1.0], True, False),
        ([0.1, 0.9, 0.5, 0.5, 0.5], False, True),
        ([0.9, 0.5, 0.4, 0.3], True, False),
        ([], True, False),
    ],
)
def test_three_snapshots_beyond_the_intervals_are_a_regression(values, lower, is_told):
    found = regression(scores(*values), "m", lower_is_better=lower)
    assert (found is not None) == is_told
    if is_told:
        assert found.startswith(f"m is {values[-1]:g} [{values[-1] - 0.1:g}, ")
        assert "at kimg 1.0" in found


def test_without_intervals_nothing_is_known():
    known = [s._replace(interval=None) for s in scores(1.0, 2.0, 3.0, 4.0, 5.0)]
    assert regression(known, "m", lower_is_better=True) is None
    mixed = scores(1.0, 2.0, 3.0) + known
    assert regression(mixed, "m", lower_is_better=True) is None


@pytest.fixture
def run(tiny, monkeypatch, tmp_path):
    """run(kimg, values, resume=): a run whose snapshots have these KID in turn."""
    monkeypatch.setattr(loop, "build_state", tiny.state)
    monkeypatch.setattr(loop, "make_evaluator", lambda *arguments: object())
    result = MetricResult(
        name="kid_lite0", value=0.0, num_real=9, num_fake=9, extractor="e", resize="r"
    )

    def call(kimg, values, resume=None):
        left = iter(values)

        def measure(state, evaluator):
            v = next(left)
            return {"kid_lite0": dataclasses.replace(result, value=v, interval=(v - 0.1, v + 0.1))}

        monkeypatch.setattr(loop, "measure", measure)
        config = tiny.config(
            total_kimg=kimg, tick_kimg=0.016, snapshot_every_ticks=1, metrics=("kid_lite0",)
        )
        return loop.train(
            config, tmp_path, loader=tiny.Loader(config), resume=resume,
            observers=[RunLog(), Report()],
        )  # fmt: skip

    return call


def alarms(folder):
    rows = [json.loads(r) for r in (folder / "stats.jsonl").read_text().splitlines()]
    return [(r["kimg"], "is_over" in r) for r in rows if r.get("alarm") == "quality-regression"]


def test_a_run_tells_it_once_and_that_it_is_over(run, tmp_path):
    state = run(0.112, [2.0, 1.0, 1.5, 1.6, 1.7, 1.8, 0.9])
    assert alarms(tmp_path) == [(0.08, False), (0.112, True)]
    assert "quality-regression" not in state.standing
    text = (tmp_path / "log.txt").read_text()
    assert "ALARM quality-regression at kimg 0.080: kid_lite0 is 1.7 [1.6, 1.8] and was 1" in text
    assert "quality-regression" in (tmp_path / "report.html").read_text()


def test_it_stands_at_the_end_and_in_a_resumed_run(run, tmp_path):
    state = run(0.08, [2.0, 1.0, 1.5, 1.6, 1.7])
    assert state.standing.endswith("quality-regression")
    newest = checkpoint.latest(tmp_path)
    state = run(0.096, [1.8], resume=newest)
    assert state.standing.endswith("quality-regression")
    assert len(alarms(tmp_path)) == 1, "it is told once"


@pytest.mark.parametrize("name", modalities())
def test_metrics_that_have_a_better_side_are_known_by_name(name):
    metric = load_modality(name).metric
    lower, higher = set(metric.LOWER_IS_BETTER), set(metric.HIGHER_IS_BETTER)
    assert lower | higher <= set(metric.NAMES)
    assert lower.isdisjoint(higher)
    assert lower | higher
    controls = ("_real", "_bicubic", "_static", "_shuffled", "_constant", "untranslated")
    assert not [n for n in lower | higher if n.endswith(controls)]
