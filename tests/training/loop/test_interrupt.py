"""Signals between two steps."""

import signal
import threading

import pytest

from fastgan.training.loop.interrupt import stop_requests


def test_second_ctrl_c_does_not_wait():
    with stop_requests() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_another_thread_installs_no_handler():
    found = []

    def body():
        with stop_requests() as stop:
            found.append((stop.is_set(), signal.getsignal(signal.SIGTERM)))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert found == [(False, before)]
