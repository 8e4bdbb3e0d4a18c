# SPDX-License-Identifier: Apache-2.0
"""Signals between two steps."""

import signal
import subprocess
import sys
import threading

import pytest

from fastgan.training.loop import interrupt
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
    thread.join(30)
    assert found == [(False, before)]


SIGNALS_AT_EACH_LINE = """
import importlib.util, signal, sys
spec = importlib.util.spec_from_file_location("interrupt", sys.argv[1])
interrupt = importlib.util.module_from_spec(spec)
spec.loader.exec_module(interrupt)

def trace(frame, event, argument):
    if event == "line":
        signal.raise_signal(signal.SIGTERM)
    return trace

with interrupt.stop_requests() as stop:
    sys.settrace(trace)
    signal.raise_signal(signal.SIGTERM)
    sys.settrace(None)
    print(stop.is_set())
"""


def test_a_second_signal_within_the_handler_of_the_first_waits_for_nothing():
    """A threading.Event would be waited for by the thread that holds its lock: for ever."""
    command = [sys.executable, "-c", SIGNALS_AT_EACH_LINE, interrupt.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
