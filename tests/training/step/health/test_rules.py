# SPDX-License-Identifier: Apache-2.0
"""The rules name planted faults in the right words, and are silent over a healthy training."""

import dataclasses
from math import nan

import pytest

from fastgan.training.step.health.readings import Reading
from fastgan.training.step.health.rules import RULES, Words

WORDS = Words.of_command_line()
HEALTHY = Reading(
    step=0, kimg=0.0, finite=True, skipped=0, diversity=0.9, num_real=64, num_distinct=64,
    num_constant=0, auc=0.7, gap=0.5, passes=1.0, r_t=0.4, r_v=nan, num_held_out=0,
    held_out_auc=nan, g_moved=0.15, d_moved=0.2, g_size=10.0,
    d_size=5.0, g_gradient=1e-3, d_gradient=1e-3,
)  # fmt: skip


def course(looks, **changes):
    """Readings each 25 steps; a change is a value, or a function of the look's number."""
    readings = []
    for i in range(looks):
        values = {k: v(i) if callable(v) else v for k, v in changes.items()}
        first = {"g_moved": nan, "d_moved": nan} if i == 0 else {}
        readings.append(dataclasses.replace(HEALTHY, step=25 * i, **(values | first)))
    return readings


def kinds(readings):
    return {rule.kind for rule in RULES if rule.finds(readings)}


def ever(readings):
    return set().union(*(kinds(readings[: n + 1]) for n in range(len(readings))))


def test_a_healthy_training_has_no_alarm():
    # the first looks of an MLP on avatars: at first samples are alike, and D wins
    diversity = [0.07, 0.13, 0.16, 0.18, 0.33, 0.67, 0.66, 0.72, 0.88, 0.58, 0.64, 0.87, 0.71]
    gap = [0.0001, 1.66, 4.09, 2.8, 2.91, 2.15, -0.29, 0.34, 1.05, 0.76, -0.29, 0.25, 0.52]
    found = ever(
        course(13, diversity=lambda i: diversity[i], gap=lambda i: gap[i], g_size=lambda i: 10 + i)
    )
    assert found == set()


@pytest.mark.parametrize(
    ("kind", "within", "changes"),
    [
        ("not-finite", 1, {"finite": False, "auc": nan, "gap": nan}),
        ("skipped-updates", 2, {"skipped": 3}),
        ("constant-data", 1, {"num_constant": 64, "num_distinct": 1, "diversity": nan}),
        ("repeated-data", 2, {"num_distinct": 2}),
        ("G-grows", 2, {"g_size": lambda i: 10 if i == 0 else 40}),
        ("D-grows", 2, {"d_size": lambda i: 5 if i == 0 else 24}),
        ("G-jumps", 3, {"g_moved": 0.97}),
        ("D-jumps", 3, {"d_moved": 0.98}),
        ("G-still", 3, {"g_moved": 1.3e-6}),
        ("D-still", 3, {"d_moved": 1.3e-6}),
        ("G-gradient", 9, {"g_gradient": lambda i: 1e-3 if i < 7 else 1.0}),
        ("D-gradient", 9, {"d_gradient": lambda i: 1e-3 if i < 7 else 1.0}),
        ("no-gradient", 3, {"g_gradient": 1e-12}),
        ("collapse", 7, {"diversity": lambda i: 0.9 if i < 5 else 0.05}),
        ("alike", 13, {"diversity": 0.001, "auc": 1.0}),
        ("D-too-sure", 4, {"gap": 12.0}),
        ("D-overfits", 11, {"r_v": 0.7, "num_held_out": 64, "held_out_auc": 0.7}),
        ("D-overfits", 19, {"r_t": 0.97, "passes": 30.0}),
        ("D-tells-nothing", 9, {"gap": 1e-4, "auc": 0.97}),
        ("D-wrong", 7, {"auc": 0.01}),
    ],
)
def test_a_fault_is_found_within_few_looks_and_said_in_words(kind, within, changes):
    readings = course(within, **changes)
    assert kinds(readings) == {kind}
    assert kind not in kinds(readings[:-1])
    rule = next(rule for rule in RULES if rule.kind == kind)
    for words in (WORDS, Words.of_train_step(), Words.of_config()):
        text = rule.says(readings, words)
        assert any(name in text for name in dataclasses.astuple(words)), text


def test_every_rule_is_tested():
    mark = test_a_fault_is_found_within_few_looks_and_said_in_words.pytestmark[0]
    assert {case[0] for case in mark.args[1]} == {rule.kind for rule in RULES}


def test_collapse_needs_a_run_that_was_lively():
    """Otherwise every young training would be told that it collapsed."""
    assert "collapse" not in ever(course(11, diversity=0.05))


def test_one_odd_batch_is_no_alarm():
    odd = course(9, diversity=lambda i: 0.05 if i == 8 else 0.9)
    assert ever(odd) == set()


def test_alike_samples_that_d_does_not_tell_are_said_whatever_their_order():
    """γ of 1e6 on digits: D's logits differ by 0.001, in one order or the other."""
    found = ever(course(9, gap=1e-3, auc=lambda i: (0.86, 0.3)[i % 2], diversity=0.02))
    assert found == {"D-tells-nothing"}


def test_at_the_goal_d_tells_nothing_and_no_alarm_says_so():
    assert ever(course(20, gap=1e-4, auc=0.5)) == set()


def test_logits_without_a_scale_are_not_judged():
    assert ever(course(20, gap=nan)) == set()


@pytest.mark.parametrize(
    "changes",
    [
        {"r_v": 0.7, "num_held_out": 64, "held_out_auc": 0.55},  # logits of all are much alike
        {"r_v": 0.2, "num_held_out": 64, "held_out_auc": 0.9},
        {"r_v": 0.7, "num_held_out": 16, "held_out_auc": 0.7},  # of few, by chance
        {"r_v": 0.1, "num_held_out": 64, "held_out_auc": 0.5, "r_t": 1.0, "passes": 99.0},
        {"r_t": 1.0, "passes": 5.0},
        {"r_t": 0.9, "passes": 30.0},
        {"r_t": nan, "passes": 30.0},
    ],
)
def test_a_d_that_does_not_overfit_is_not_told(changes):
    assert ever(course(30, **changes)) == set()


def test_an_overfitting_d_is_told_by_what_is_known():
    rule = next(rule for rule in RULES if rule.kind == "D-overfits")
    held_out = course(30, r_v=0.7, num_held_out=64, held_out_auc=0.8)
    assert "70% of the way" in rule.says(held_out, WORDS)
    text = rule.says(course(30, r_t=0.98, passes=30.0), WORDS)
    assert "99% of the training samples, each shown 30 times" in text
    assert "no samples are held out" in text
