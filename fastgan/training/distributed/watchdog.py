"""Names the process that does not arrive where the others wait, and ends the run."""

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
    """A thread that tells the other ranks how far this one is, and watches that it goes on.

    The training thread calls `passed` before everything that waits for other ranks. Where it then
    stands still for `limit_sec` (until the end of the first step, which may compile or capture:
    `first_limit_sec`), the ranks with the fewest calls are those that are waited for: they are
    named on stderr, and this process ends with HANG_EXIT_CODE, upon which torchrun ends the others
    and restarts the job or fails. A rank within `errand` may take `first_limit_sec`. The process
    ends too when the store can't be reached: the launcher is gone.

    store: of all ranks, used by this thread alone. stop_process: what ends the process, for tests.
    """

    def __init__(
        self,
        store: dist.Store,
        rank: int,
        size: int,
        *,
        limit_sec: float,
        first_limit_sec: float,
        stop_process: Callable[[int], object] = os._exit,
        poll_sec: float = _POLL_SEC,
    ):
        self._store, self._rank, self._size = store, rank, size
        self._limit_sec, self._first_limit_sec = limit_sec, first_limit_sec
        self._stop_process, self._poll_sec = stop_process, poll_sec
        self._count, self._where, self._errand = 0, "the start", ""
        self._since = time.monotonic()
        self._is_warm = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fastgan-watchdog", daemon=True)

    def start(self) -> None:
        self._publish()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def passed(self, where: str) -> None:
        """This rank is about to wait for the others at `where`, such as "step 7, d_step"."""
        self._where, self._since = where, time.monotonic()
        self._count += 1

    def is_warm(self) -> None:
        """The first step is over: from now on `limit_sec` counts."""
        self._is_warm = True

    @contextmanager
    def errand(self, what: str) -> Iterator[None]:
        """Work of this rank alone, for which the others wait with patience."""
        self._errand, self._since = what, time.monotonic()
        try:
            yield
        finally:
            self._errand, self._since = "", time.monotonic()

    def _publish(self) -> None:
        line = json.dumps({"count": self._count, "where": self._where, "errand": self._errand})
        self._store.set(f"progress/{self._rank}", line)

    def _watch(self) -> None:
        published = None
        while not self._ended.wait(self._poll_sec):
            try:
                if published != (self._count, self._errand):
                    published = (self._count, self._errand)
                    self._publish()
                verdict = self._verdict()
            except Exception as error:
                if not self._ended.is_set():
                    self._end(f"the launcher's store can't be reached ({error}); the run ends here")
                return
            if verdict and not self._ended.is_set():
                self._end(verdict)
                return

    def _verdict(self) -> str | None:
        is_patient = self._errand or not self._is_warm
        limit = self._first_limit_sec if is_patient else self._limit_sec
        waited = time.monotonic() - self._since
        if waited <= limit:
            return None
        ranks = {r: json.loads(self._store.get(f"progress/{r}")) for r in range(self._size)}
        ranks[self._rank] |= {"count": self._count}
        least = min(rank["count"] for rank in ranks.values())
        late = [r for r, rank in ranks.items() if rank["count"] == least]
        busy = [r for r in late if ranks[r]["errand"]]
        if busy and waited <= self._first_limit_sec:
            return None
        if len(late) == self._size:
            return f"all {self._size} ranks reached {self._where} and none went on"
        names = "; ".join(
            f"rank {r} (last seen {ranks[r]['errand'] or 'at ' + ranks[r]['where']})" for r in late
        )
        return f"did not arrive at {self._where}, which other ranks reached: {names}"

    def _end(self, why: str) -> None:
        message = (
            f"fastgan: rank {self._rank} of {self._size}: no progress for "
            f"{time.monotonic() - self._since:.0f} s: {why}\n"
        )
        sys.stderr.write(message)
        sys.stderr.flush()
        self._stop_process(HANG_EXIT_CODE)
