import math

import pytest
import torch

from fastgan.training.statistics import Statistics


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


def test_an_unknown_name_is_an_error():
    with pytest.raises(KeyError, match="x"):
        Statistics(["a"], torch.device("cpu")).add("x", torch.zeros([]))
