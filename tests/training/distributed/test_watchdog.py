# SPDX-License-Identifier: Apache-2.0
"""Ranks' watchdogs in one process, on one store and a clock that is set; nothing ends a process."""

import threading
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from fastgan.training.distributed import watchdog
from fastgan.training.distributed.watchdog import HANG_EXIT_CODE, Watchdog


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def ranks(size, *, is_warm=True):
    store = dist.HashStore()
    made = [Watchdog(store, r, size, limit_sec=10, first_limit_sec=100) for r in range(size)]
    for dog in made:
        if is_warm:
            dog.first_step_ended()
        dog._publish()
    return made


def passed(dogs, where):
    for dog in dogs:
        dog.reached(where)
        dog._publish()


def test_the_rank_that_did_not_arrive_is_named(clock):
    a, b, c = ranks(3)
    passed([a, b, c], "step 6, d_step")
    passed([a, c], "step 7, d_step")
    clock.now += 9
    assert a._problem() is None
    clock.now += 2
    for dog in (a, b, c):
        problem = dog._problem()
        assert problem.startswith("other ranks reached step ")
        assert problem.endswith(", but these did not: rank 1 (last seen at step 6, d_step)")
    assert "step 7" in a._problem()


def test_all_waiting_is_said_as_such(clock):
    dogs = ranks(3)
    passed(dogs, "step 7")
    clock.now += 11
    assert dogs[1]._problem() == "all 3 ranks reached step 7, and none continued"


def test_progress_is_waited_for(clock):
    a, b = ranks(2)
    for i in range(5):
        clock.now += 9
        passed([a, b], f"step {i}")
        assert a._problem() is b._problem() is None


def test_work_of_one_rank_is_waited_for_longer_but_not_for_ever(clock):
    a, b = ranks(2)
    with b.others_wait_for("a snapshot"):
        b._publish()
        passed([a], "step 8")
        clock.now += 90
        assert a._problem() is b._problem() is None
        clock.now += 11
        assert "rank 1 (last seen a snapshot)" in a._problem()
    b._publish()
    passed([a, b], "step 8")
    clock.now += 11
    assert a._problem() is not None


def test_the_first_step_has_more_time(clock):
    (dog,) = ranks(1, is_warm=False)
    clock.now += 90
    assert dog._problem() is None
    clock.now += 11
    assert dog._problem() is not None


class Store:
    """A store that works until its daemon is gone."""

    def __init__(self):
        self.is_lost = False

    def set(self, key, value):
        if self.is_lost:
            raise dist.DistStoreError("connection reset")


def test_the_thread_ends_the_process_when_the_launcher_is_gone(capfd):
    store, code, event = Store(), [], threading.Event()

    def stop_process(status):
        code.append(status)
        event.set()

    dog = Watchdog(store, 0, 2, limit_sec=60, first_limit_sec=60, stop_process=stop_process,
                   poll_sec=0.02)  # fmt: skip
    dog.start()
    store.is_lost = True
    dog.reached("step 1")
    assert event.wait(30)
    dog.stop()
    assert code == [HANG_EXIT_CODE]
    error = capfd.readouterr().err
    assert "rank 0 of 2: no progress for " in error
    assert "store can't be reached (connection reset)" in error
