# SPDX-License-Identifier: Apache-2.0
"""How a process group ends without keeping the process: in a limited time, or not at all.

A process that ends while a thread of gloo still frees a tensor is aborted: the thread waits for
Python's lock, which a Python that ends never gives. So the group ends before the process does, on
every way out, and what it has started ends before the group (`leave`).

From 2.26 on NCCL waits in ncclCommDestroy and in ncclCommAbort until every CUDA graph that captured
one of the communicator's collectives is destroyed (pytorch#115388, vllm#39846): whoever ends a
group releases the graphs before. That does not wait. The driver destroys a graph that runs when it
has ended, and what an abort sets on the device ends a collective without the other ranks.
"""

import atexit
import ctypes
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
import torch.distributed as dist

from fastgan.training.distributed.watchdog import HANG_EXIT_CODE

__all__ = ["ABORT_LIMIT_SEC", "HoldsGraphs", "RaisedByAllRanks", "abort", "ends_in_time", "leave"]

ABORT_LIMIT_SEC = 10.0


class RaisedByAllRanks(Exception):
    """Marks an error that every rank raises after the same step, such as numbers that are NaN."""


class HoldsGraphs(Protocol):
    """Something that may hold CUDA graphs with collectives of a process group."""

    def release(self) -> None:
        """Destroys them at once; may be called again and again."""


@contextmanager
def ends_in_time(what: str, limit_sec: float, code: int = HANG_EXIT_CODE) -> Iterator[None]:
    """A context that must be left within `limit_sec`: otherwise the process ends.

    Args:
        what: that ends, for the message on stderr.
        limit_sec: seconds.
        code: the exit status after them.
    """

    def give_up() -> None:
        sys.stderr.write(f"fastgan: {what} did not end within {limit_sec:.0f} s\n")
        sys.stderr.flush()
        os._exit(code)

    timer = threading.Timer(limit_sec, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def leave(works: Iterable[dist.Work], device: torch.device) -> None:
    """Ends the process group of a run that failed on this rank, while others may wait in it.

    What this rank has started ends soon, unless another rank never comes to it: every rank starts
    the same, and one that is gone ends it with an error. That is waited for ABORT_LIMIT_SEC; then
    a gloo group is destroyed, and before that NCCL's communicator is aborted (`abort`). A gloo
    group whose work has not ended is left as it is, and its tensors are never freed.

    Args:
        works: the collectives that this rank started and did not wait for.
        device: of the run.
    """
    works = list(works)
    if device.type == "cuda":
        abort(dist.group.WORLD)
    end = time.monotonic() + ABORT_LIMIT_SEC
    while not all(work.is_completed() for work in works):
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    else:
        if device.type == "cpu":
            with ends_in_time("the process group", ABORT_LIMIT_SEC, 1):
                dist.destroy_process_group()
            return
    for work in works:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(work))


def abort(group: dist.ProcessGroup) -> None:
    """Aborts the NCCL communicator of a group whose run has failed; waits ABORT_LIMIT_SEC at most.

    The group's destructor would abort it when the process ends, and wait for as long as the group's
    time-out, if a graph is left or another rank of the machine does not abort (nccl#863). So it is
    done now, in a thread. Where that has not ended in time, the process ends without it: by
    os._exit, which calls no destructor, with status 1, once its other threads have ended (such as
    one that writes a checkpoint). The driver frees what it held on the device.
    """
    backend = group._get_backend(torch.device("cuda"))
    thread = threading.Thread(target=backend.abort, name="fastgan-abort", daemon=True)
    thread.start()
    thread.join(ABORT_LIMIT_SEC)
    if thread.is_alive():
        atexit.register(_exit_without_destructors)


def _exit_without_destructors() -> None:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
