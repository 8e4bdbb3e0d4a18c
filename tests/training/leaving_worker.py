# SPDX-License-Identifier: Apache-2.0
"""One process of two that leave a run: python leaving_worker.py WAY

Rank 0 comes later to the last collective, so that a thread of rank 1's gloo frees the tensor of it
after rank 1 has left. Then rank 1 holds Python's lock until Python ends: a thread that waits for
the lock is ended by Python inside a destructor, and the process is aborted. (A process on a busy
machine does so by chance.)

WAY: "diverged": both leave by an error that all ranks raise; "error": rank 1 leaves alone, by an
error of its own; "stuck": so, and rank 0 does not come to what rank 1 has started.
"""

import atexit
import os
import sys
import time

import torch

from fastgan.training.distributed import ending
from fastgan.training.distributed.ranks import join
from fastgan.training.loop.faults import TrainingDiverged

LATER_SEC = 1.0
OWN_CODE = 7


class Slow:
    """Gives Python's lock away while Python ends."""

    def __del__(self, sleep=time.sleep):
        sleep(0.5)


def hold_the_lock():
    end = time.monotonic() + 2 * LATER_SEC
    while time.monotonic() < end:
        pass


def main(way):
    sys.setswitchinterval(1000)
    if os.environ["RANK"] == "1":
        atexit.register(hold_the_lock)
        sys.kept = Slow()
    with join("cpu", start_limit_sec=100, step_limit_sec=100) as ranks:
        ranks.connect()
        if ranks.is_first:
            time.sleep(LATER_SEC)
            if way == "stuck":
                time.sleep(10)
        ranks.step_ended(1, wish=0)
        if way == "diverged":
            raise TrainingDiverged("NaN")
        if not ranks.is_first:
            raise ValueError("of this rank alone")
        ranks.all_reduce_mean_(torch.ones(1))


if __name__ == "__main__":
    ending.ABORT_LIMIT_SEC = 3.0
    try:
        main(sys.argv[1])
    except (TrainingDiverged, ValueError):  # without a traceback, which would keep the tensor
        sys.exit(OWN_CODE)
