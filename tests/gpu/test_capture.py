# SPDX-License-Identifier: Apache-2.0
"""Captured against eager, on the CPU: eager against itself, and against recordings that froze."""

import argparse
import json
import math

import pytest
import torch

from fastgan.training.step.capture import WARM_UPS
from tests._small_networks import SMALL_RECIPES
from tests.gpu import _capture, _markdown, _phases, _training
from tests.gpu._capture import Comparison, Difference, compare

CPU = argparse.Namespace(device="cpu", quick=True)


def make(recipe):
    state = _phases.make_state(_phases.small_config(recipe, "cpu"))
    return state, _phases.make_batches(state)


def test_every_recipe_and_phase_is_compared():
    items = _phases.items("cpu")
    assert {item.split("/")[0] for item in items} == set(SMALL_RECIPES)
    assert {item.split("/")[1] for item in items} == set(_phases.PHASES)
    assert [item.split("/")[0] for item in items[: len(SMALL_RECIPES)]] == SMALL_RECIPES


@pytest.mark.parametrize("item", [i for i in _phases.items("cpu") if i.startswith(("faces", "mlp"))]
                         + ["stylegan2-small/adapt_p", "dcgan/g_step"])  # fmt: skip
def test_eager_equals_eager(item):
    record = _phases.work(item, CPU)
    assert record["failure"] is None
    assert record["is_bitwise_equal"]
    assert record["eager_is_repeatable"]
    assert record["rounds"] == 3
    json.dumps(record)


def frozen(read):
    """A recorder whose replays use the tensors of `read(state, batch)` as they were when it ran."""

    def recorder(phase, state, batch):
        kept = [t.clone() for t in read(state, batch)]

        def replay():
            live = read(state, batch)
            now = [t.clone() for t in live]
            for t, old in zip(live, kept, strict=True):
                t.copy_(old)
            phase(state, batch)
            for t, new in zip(live, now, strict=True):
                t.copy_(new)

        return replay

    return recorder


def doubled_draw(phase, state, batch):
    def replay():
        torch.rand(1)
        phase(state, batch)

    return replay


def rates(state, batch):
    return [g["lr"] for o in (state.d_optimizer, state.g_optimizer) for g in o.param_groups]


PLANTED = {
    "nothing runs": ("d_step", lambda phase, state, batch: lambda: None, 0),
    "batch": ("d_step", frozen(lambda state, batch: [batch.x]), 1),
    "d's lr": ("d_full_step", frozen(rates), 1),
    "g's lr": ("g_step", frozen(rates), 1),
    "p": ("d_step", frozen(lambda state, batch: [state.augment.p]), 1),
    "penalty scale": ("d_penalty_step", frozen(lambda state, batch: [state.gamma_scale]), 1),
    "EMA weight": ("average_weights", frozen(lambda state, batch: [state.ema_weight]), 1),
    "random numbers": ("g_step", doubled_draw, 0),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_recording_that_froze_something_differs(name):
    phase, recorder, first_round = PLANTED[name]
    state, batches = make("faces")
    found = compare(state, _phases.PHASES[phase], batches, recorder=recorder)
    assert found.wrong
    assert min(difference.round for difference in found.wrong) == first_round
    record = _phases.describe(found)
    assert "tensors differ" in record["failure"]
    assert "**FAILED**" in _markdown._verdict(record)


@pytest.mark.parametrize("item", _phases.items("cpu"))
def test_no_phase_of_any_recipe_is_compared_with_nothing(item):
    """Each moves what it is for; else leaving it out could not be seen."""
    recipe, phase = item.split("/")
    state, batches = make(recipe)
    before = _capture.snapshot(state)
    _phases.PHASES[phase](state, batches[0])
    after = _capture.snapshot(state)
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    expected = {"average_weights": "G_ema", "adapt_p": "augment"}
    assert expected.get(phase, phase[0].upper()) in moved


def test_a_comparison_leaves_the_state_as_it_was():
    state, batches = make("mlp")
    before = _capture.snapshot(state)
    x = batches[0].x.clone()
    compare(state, _phases.PHASES["d_full_step"], batches)
    after = _capture.snapshot(state)
    assert before.keys() == after.keys()
    assert all(_capture.same_bits(before[name], after[name]) for name in before)
    assert torch.equal(batches[0].x, x)


def test_every_tensor_of_the_state_is_watched():
    """What a checkpoint holds, and the scalars that the host writes before every step."""
    state, _ = make("stylegan2")
    watched = _capture.persistent_tensors(state)
    assert watched.keys() >= state.saved_tensors().keys()
    assert watched.keys() >= {"ema_weight", "gamma_scale", "g_optimizer.lr", "stats.step_sums"}
    pointers = {t.data_ptr() for t in watched.values() if t.numel()}
    for network in (state.G, state.D, state.G_ema, state.augment):
        for name, t in [*network.named_parameters(), *network.named_buffers()]:
            assert t.numel() == 0 or t.data_ptr() in pointers, name


def test_a_difference_is_wrong_beyond_what_eager_differs_from_itself():
    def difference(relative, eager, is_repeatable=False):
        allowed = _capture.allowance(eager, is_repeatable)
        return Difference("D.w", 0, 1e-3, relative, eager, allowed)

    assert difference(1e-7, 0.0, is_repeatable=True).is_wrong
    assert not difference(1e-7, 0.0).is_wrong  # two runs may agree by chance
    assert not difference(0.1, 0.05).is_wrong
    assert difference(0.1, 0.01).is_wrong
    assert difference(0.02, 1e-7).is_wrong
    assert difference(math.nan, math.nan).is_wrong
    noisy = Comparison(9, 3, False, (difference(1e-7, 1e-7),))
    record = _phases.describe(noisy)
    assert record["failure"] is None
    assert _markdown._verdict(record) == "as near as eager is to itself"
    assert "D.w: 0.001 (1e-07 of its change, eager 1e-07)" in _markdown._worst(record)


def test_bits_are_compared_nan_and_all():
    nan = torch.tensor([math.nan, 1.0])
    assert _capture.same_bits(nan, nan.clone())
    assert not _capture.same_bits(torch.tensor(0.0), torch.tensor(-0.0))
    assert _capture.same_bits(torch.tensor(3), torch.tensor(3))


@pytest.mark.parametrize("recipe", ["mlp", "faces"])
def test_both_ways_of_a_training_step_train_alike(recipe):
    """Where nothing can be captured they are one; tests/training/test_capture.py has graphs."""
    changes = {"batch": 2, "ema": {"half_life_kimg": 0.01}}
    states, batch = [], None
    for way in ("eager", "recorded"):
        torch.manual_seed(3)
        state = _training.make_state(recipe, "cpu", **changes)
        batch = batch or _training.make_batch(state)
        torch.manual_seed(4)
        if way == "eager":
            advance = _training.eager_step(state, batch)
        else:
            advance = _training.captured_step(state, batch)
            assert state.config.capture == "auto"
        for _ in range(9):
            advance()
        states.append(state)
    eager, recorded = (_capture.snapshot(state) for state in states)
    assert (states[0].step, states[0].nimg) == (states[1].step, states[1].nimg) == (9, 18)
    assert all(_capture.same_bits(eager[name], recorded[name]) for name in eager)


def test_images_per_second_count_whole_periods(monkeypatch):
    state = _training.make_state("faces", "cpu", batch=2)
    calls, now = [], iter(range(100))
    monkeypatch.setattr(_training.time, "perf_counter", lambda: float(next(now)))
    rate = _training.images_per_second(state, lambda: calls.append(1), seconds=3.0)
    assert _training.period(state) == 8
    assert len(calls) == 8 * (
        WARM_UPS + 1 + 1 + 3
    )  # untimed, timed once, timed as long as asked for
    assert rate == 3 * 8 * 2 / 1.0


def test_a_recorded_step_sees_a_new_batch():
    state = _training.make_state("mlp", "cpu", batch=2)
    batch = _training.make_batch(state)
    advance = _training.captured_step(state, batch)
    start = _capture.snapshot(state)
    ends = []
    for value in (0.0, 1.0):
        _capture.restore(state, start)
        batch.x.fill_(value)
        advance()
        ends.append(_capture.snapshot(state))
    weights = [name for name in start if name.startswith("D.") and name.endswith("weight")]
    assert all(not torch.equal(ends[0][name], ends[1][name]) for name in weights)
