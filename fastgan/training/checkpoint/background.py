# SPDX-License-Identifier: Apache-2.0
"""`Background`: runs one piece of work at a time in a thread."""

import threading
from collections.abc import Callable

__all__ = ["Background"]


class Background:
    """Runs one piece of work at a time, each in a thread of its own.

    No thread waits for work, so that a forked child misses none and an idle process has none. The
    threads are not daemons: an interpreter that exits lets them finish.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], None]) -> None:
        """Starts `work` after the earlier piece has ended, and raises what that one raised."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(work,), name=self.name)
        self._thread.start()

    def wait(self) -> None:
        """Waits until no work is running; raises, once, what the last piece of work raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def raise_error(self) -> None:
        """Raises what a piece of work that has ended raised; never waits."""
        if not self.is_busy:
            self.wait()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # it is raised again in the thread that waits
            self._error = error
