# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from fastgan.training.step.statistics import HISTORY, OPEN_ROWS, Statistics


def test_means_of_means_until_reset():
    stats = Statistics(["a", "b", "c"], torch.device("cpu"))
    sums = stats.sums
    stats.add("a", torch.tensor([1.0, 3.0]))
    stats.add("a", torch.tensor(4.0))
    stats.add("b", torch.tensor(-1.0, requires_grad=True))
    assert stats.read() == {"a": 3.0, "b": -1.0}
    stats.reset()
    assert stats.read() == {}
    assert stats.sums is sums


def test_what_is_not_finite_is_counted_beside_the_mean():
    stats = Statistics(["a", "b", "c"], torch.device("cpu"))
    for value in (math.nan, 1.0, -math.inf, 3.0):
        stats.add("a", torch.tensor(value))
    stats.add("b", torch.tensor([1.0, math.inf]))
    stats.add("c", torch.tensor(5.0))
    assert stats.read() == {"a": 2.0, "c": 5.0}
    assert stats.read_broken() == {"a": (2, 2), "b": (1, 0)}
    stats.reset()
    assert stats.read_broken() == {}


def test_the_history_is_a_ring_of_steps():
    stats = Statistics(["a", "lazy", "never"], torch.device("cpu"))
    assert stats.read_history() == {}
    for i in range(HISTORY + 3):
        stats.add("a", torch.tensor(float(i)), 0.25)
        stats.add("a", torch.tensor(float(i + 4)), 0.75)
        if i % 100 == 0:
            stats.add("lazy", torch.tensor(-float(i)))
        stats.end_step()
        if i in (1, 7):
            stats.reset()
        if i == 1:
            history = stats.read_history()
            assert history["a"] == [3.0, 4.0]
            assert history["lazy"] == pytest.approx([0.0, math.nan], nan_ok=True)
    history = stats.read_history()
    assert history.keys() == {"a", "lazy"}
    assert history["a"] == [i + 3.0 for i in range(3, HISTORY + 3)]
    seen = {3 + i: value for i, value in enumerate(history["lazy"]) if not math.isnan(value)}
    assert seen == {100: -100.0, 200: -200.0}
    assert stats.read()["a"] == pytest.approx(sum(range(11, HISTORY + 6)) / (HISTORY - 5))


def test_a_step_that_was_not_finite_is_nan_in_the_history_alone():
    stats = Statistics(["a"], torch.device("cpu"))
    for value in (1.0, math.inf, 2.0):
        stats.add("a", torch.tensor(value))
        stats.end_step()
    assert stats.read_history()["a"] == pytest.approx([1.0, math.nan, 2.0], nan_ok=True)
    assert stats.history.isfinite().all()


def test_an_unknown_name_is_an_error():
    with pytest.raises(ValueError, match=r"no row for 'x'.*has_open_names"):
        Statistics(["a"], torch.device("cpu")).add("x", torch.zeros([]))


def test_open_names_take_rows_as_they_occur_and_a_copy_of_the_tensors_has_them_too():
    cpu = torch.device("cpu")
    stats, other = (Statistics(["a"], cpu, has_open_names=True) for _ in range(2))
    other.add("z", torch.tensor(9.0))  # another order
    for name, value in (("mel", 2.0), ("a", 1.0), ("größe", 3.0), ("mel", 4.0)):
        stats.add(name, torch.tensor(value))
    stats.end_step()
    assert stats.read() == {"a": 1.0, "mel": 3.0, "größe": 3.0}
    for name in ("totals", "history", "recorded", "open_names"):
        getattr(other, name).copy_(getattr(stats, name))
    assert other.names == ("a", "mel", "größe")
    other.add("größe", torch.tensor(5.0))
    other.add("new", torch.tensor(7.0))
    assert other.read() == {"a": 1.0, "mel": 3.0, "größe": 4.0, "new": 7.0}
    assert other.read_history()["mel"] == [3.0]


def test_open_names_have_a_limit():
    stats = Statistics(["a"], torch.device("cpu"), has_open_names=True)
    for i in range(OPEN_ROWS):
        stats.add(f"b{i}", torch.tensor(1.0))
    for name in ("one more", "n" * 65):
        with pytest.raises(ValueError, match=f"an objective may return {OPEN_ROWS} names"):
            stats.add(name, torch.tensor(1.0))
