# SPDX-License-Identifier: Apache-2.0
"""`stop_requests`: a run ends between two steps after Ctrl-C or a scheduler's SIGTERM."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopRequest", "stop_requests"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether a signal has asked the run to stop.

    It is no `threading.Event`, whose `set` takes a lock: a second signal may interrupt the handler
    of the first one while it holds that lock, and would then wait for it for ever.
    """

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def is_set(self) -> bool:
        return self._is_set


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """A context that gives a request, which the first SIGINT or SIGTERM sets.

    A second SIGINT raises KeyboardInterrupt. The earlier handlers are restored at the end. Python
    delivers signals to the main thread only: in another thread no handler is installed, and the
    request stays clear.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    previous = {number: signal.signal(number, request) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
