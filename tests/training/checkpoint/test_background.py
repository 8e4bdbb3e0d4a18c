# SPDX-License-Identifier: Apache-2.0
import os
import signal
import threading
import time

import pytest

from fastgan.training.checkpoint.background import Background


def test_one_piece_of_work_at_a_time_in_another_thread():
    background, done, go = Background("worker"), [], threading.Event()

    def first():
        go.wait(20)
        done.append(threading.current_thread().name)

    background.start(first)
    assert background.is_busy
    threading.Timer(0.05, go.set).start()
    background.start(lambda: done.append("second"))  # waits for the first
    assert done[0] == "worker"
    background.wait()
    assert done == ["worker", "second"]
    assert not background.is_busy


def test_an_error_is_raised_once_by_whoever_asks_next():
    background, done = Background("worker"), []
    for ask in (background.wait, background.raise_error, lambda: background.start(done.append)):
        background.start(lambda: 1 / 0)
        while background.is_busy:
            time.sleep(0.001)
        with pytest.raises(ZeroDivisionError):
            ask()
        background.wait()
    assert done == []


def test_asking_for_errors_does_not_wait():
    background, go = Background("worker"), threading.Event()
    background.start(lambda: go.wait(20))
    background.raise_error()
    assert background.is_busy
    go.set()
    background.wait()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_waits_for_nobody_and_works():
    background, go = Background("worker"), threading.Event()
    background.start(lambda: go.wait(40))
    pid = os.fork()
    if pid == 0:
        done = []
        try:  # an exception must not go on as a second pytest, and a child that waits must end
            signal.alarm(30)
            background.start(lambda: done.append(1))  # the parent's thread is not here
            background.wait()
        finally:
            os._exit(0 if done == [1] else 1)
    end = time.monotonic() + 20
    while (found := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.01)
    go.set()
    background.wait()
    assert found == (pid, 0)
