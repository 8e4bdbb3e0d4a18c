# SPDX-License-Identifier: Apache-2.0
"""Graphs over rotating buffers without a GPU: graphs and the GPU's clock are stand-ins."""

import gc
import weakref

import pytest
import torch

from fastgan.bench.measure import graph_timer, op_rows
from fastgan.bench.measure.graph_timer import bound, measure_graphs, num_sets
from fastgan.bench.measure.timer import Protocol
from fastgan.bench.op_case import OpCase


class FakeGraphs:
    """Runs a captured call again at each replay; a call in a graph takes a tenth of the time."""

    made = ()

    def __init__(self, device):
        self.warmed, self.is_released = 0, False
        FakeGraphs.made += (self,)

    def warm_up(self, call):
        self.warmed += 1
        call()

    def capture(self, call):
        assert self.warmed >= 3

        def replay():
            assert not self.is_released
            Event.speed = 10.0
            call()
            Event.speed = 1.0

        return replay

    def release(self):
        self.is_released = True


class Event:
    now, speed = 0.0, 1.0

    def __init__(self, enable_timing):
        pass

    def record(self):
        self.at = Event.now

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return end.at - self.at


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(graph_timer, "CudaGraphs", FakeGraphs)
    monkeypatch.setattr(FakeGraphs, "made", ())
    return Protocol(device="cuda", rounds=2, sample_seconds=0.01)


@pytest.mark.parametrize(
    ("set_bytes", "l2", "sets"),
    [(2**20, 50 * 2**20, 128), (10 * 2**20, 50 * 2**20, 20), (2**28, 50 * 2**20, 2), (8, 0, 2)],
)
def test_sets_fill_the_cache_four_times(set_bytes, l2, sets):
    assert num_sets(set_bytes, l2) == sets


def test_a_call_in_a_graph_and_one_that_is_launched_are_told_apart(gpu):
    """Three sets: each replay computes all of them; seconds are those of one call."""
    seen, alive = [], []

    def call(i, milliseconds):
        def run():
            Event.now += milliseconds / Event.speed
            seen.append(i)
            out = torch.empty(1)
            alive.append(weakref.ref(out))
            if i == 2:  # what the others made is still there
                assert all(ref() is not None for ref in alive[-3:])
            return out

        return run

    calls = {name: [call(i, ms) for i in range(3)] for name, ms in (("a", 5.0), ("b", 10.0))}
    found = measure_graphs(calls, gpu)
    assert found.graphs.seconds["a"] == pytest.approx([0.5e-3] * 2)
    assert found.graphs.seconds["b"] == pytest.approx([1e-3] * 2)
    assert found.launched.median("a") == pytest.approx(5e-3)
    assert seen == [0, 1, 2] * (len(seen) // 3)
    assert [graphs.is_released for graphs in FakeGraphs.made] == [True]
    gc.collect()
    assert not any(ref() is not None for ref in alive)


def test_graphs_are_released_where_a_variant_fails(gpu):
    def fail():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        measure_graphs({"a": [fail]}, gpu)
    assert FakeGraphs.made[0].is_released


@pytest.mark.parametrize(
    ("seconds", "launched", "moving", "instructing", "words"),
    [
        (1.0, 1.0, 0.8, None, "bytes"),
        (1.0, 1.0, 0.6, 0.9, "instructions"),
        (1.0, 1.0, 0.6, 0.7, "latency"),
        (1.0, 20.0, 0.1, None, "latency; host when launched"),
        (1.0, 1.3, 0.9, 0.2, "bytes"),
    ],
)
def test_what_bounds_a_row(seconds, launched, moving, instructing, words):
    found = bound(seconds, launched=launched, moving=moving, instructing=instructing)
    assert str(found) == words


def test_a_row_rotates_over_tensors_of_its_own(gpu, monkeypatch):
    seen = set()

    def run(x):
        seen.add(x.data_ptr())
        Event.now += 1.0 / Event.speed
        return x * 2

    case = OpCase(
        op="double", name="double", shapes=((4, 4),), run=run, plain=lambda x: x * 2,
        floor_elements={"forward": 32, "forward+backward": 64, "double": 96},
    )  # fmt: skip
    monkeypatch.setattr(op_rows, "cache_bytes", lambda device: 100)
    tensors = op_rows.tensors_on(case, "cpu")
    found = op_rows.measure_on_gpu(case, "forward", tensors, {"native": run}, gpu)
    assert found["sets"] == 4  # of 128 bytes each
    assert len(seen) == 4
    assert found["samples"].median("native") == pytest.approx(1e-4)
    assert found["launched"].median("native") == pytest.approx(1e-3)
    assert str(found["bound"]) == "latency; host when launched"
