# SPDX-License-Identifier: Apache-2.0
"""Ends a run in which one rank waits too long for another, and names the rank that is late."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch.distributed as dist

__all__ = ["HANG_EXIT_CODE", "Watchdog"]

HANG_EXIT_CODE = 70
_POLL_SEC = 1.0


class Watchdog:
    """A thread that publishes this rank's progress, and ends the process when there is none.

    The training thread calls `reached` before everything that waits for other ranks. When the next
    call does not come within `limit_sec` (`first_limit_sec` until the end of the first step, which
    may compile or capture), the ranks with the fewest calls are late: they are named on stderr, and
    this process ends with HANG_EXIT_CODE, upon which torchrun ends the others and restarts the job
    or fails. A rank within `others_wait_for` may take `first_limit_sec`. The process also ends when
    the store can't be reached, because the launcher is gone then.

    Args:
        store: of all ranks; only this thread uses it.
        rank: of this process.
        world_size: the number of ranks.
        limit_sec: seconds without progress in a step.
        first_limit_sec: seconds without progress before the first step has ended.
        stop_process: called with HANG_EXIT_CODE; replaced in tests.
        poll_sec: seconds between two looks.
    """

    def __init__(
        self,
        store: dist.Store,
        rank: int,
        world_size: int,
        *,
        limit_sec: float,
        first_limit_sec: float,
        stop_process: Callable[[int], object] = os._exit,
        poll_sec: float = _POLL_SEC,
    ):
        self._store, self._rank, self._world_size = store, rank, world_size
        self._limit_sec, self._first_limit_sec = limit_sec, first_limit_sec
        self._stop_process, self._poll_sec = stop_process, poll_sec
        self._count, self._where, self._solo_work = 0, "the start", ""
        self._since = time.monotonic()
        self._has_first_step_ended = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fastgan-watchdog", daemon=True)

    def start(self) -> None:
        self._publish()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def reached(self, where: str) -> None:
        """This rank will now wait for the others at `where`, such as "step 7, d_step"."""
        self._where, self._since = where, time.monotonic()
        self._count += 1

    def first_step_ended(self) -> None:
        """From now on `limit_sec` counts."""
        self._has_first_step_ended = True

    @contextmanager
    def others_wait_for(self, what: str) -> Iterator[None]:
        """A context for work of this rank alone, for which the others wait for longer."""
        self._solo_work, self._since = what, time.monotonic()
        try:
            yield
        finally:
            self._solo_work, self._since = "", time.monotonic()

    def _publish(self) -> None:
        line = json.dumps(
            {"count": self._count, "where": self._where, "solo_work": self._solo_work}
        )
        self._store.set(f"progress/{self._rank}", line)

    def _watch(self) -> None:
        published = None
        while not self._ended.wait(self._poll_sec):
            try:
                if published != (self._count, self._solo_work):
                    published = (self._count, self._solo_work)
                    self._publish()
                problem = self._problem()
            except Exception as error:
                if not self._ended.is_set():
                    self._end(f"the launcher's store can't be reached ({error}); the run ends here")
                return
            if problem and not self._ended.is_set():
                self._end(problem)
                return

    def _problem(self) -> str | None:
        is_slow = self._solo_work or not self._has_first_step_ended
        limit = self._first_limit_sec if is_slow else self._limit_sec
        waited = time.monotonic() - self._since
        if waited <= limit:
            return None
        ranks = {r: json.loads(self._store.get(f"progress/{r}")) for r in range(self._world_size)}
        ranks[self._rank] |= {"count": self._count}
        least = min(rank["count"] for rank in ranks.values())
        late = [r for r, rank in ranks.items() if rank["count"] == least]
        busy = [r for r in late if ranks[r]["solo_work"]]
        if busy and waited <= self._first_limit_sec:
            return None
        if len(late) == self._world_size:
            return f"all {self._world_size} ranks reached {self._where}, and none continued"
        names = "; ".join(
            f"rank {r} (last seen {ranks[r]['solo_work'] or 'at ' + ranks[r]['where']})"
            for r in late
        )
        return f"other ranks reached {self._where}, but these did not: {names}"

    def _end(self, why: str) -> None:
        message = (
            f"fastgan: rank {self._rank} of {self._world_size}: no progress for "
            f"{time.monotonic() - self._since:.0f} s: {why}\n"
        )
        sys.stderr.write(message)
        sys.stderr.flush()
        self._stop_process(HANG_EXIT_CODE)
