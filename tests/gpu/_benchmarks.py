# SPDX-License-Identifier: Apache-2.0
"""Step `benchmarks`: the ops (`_ops.py`), then whole training steps (`_training.py`)."""

import time

from tests._small_networks import SMALL_RECIPES
from tests.gpu import _ops
from tests.gpu._child_processes import drive
from tests.gpu._steps import FAILED, PASSED, Outcome, Session

TRAINING_SHARE = 0.25  # of the step's time, kept for the training steps


def run(session: Session) -> Outcome:
    options = ["--device", session.device, *(["--quick"] if session.is_quick else [])]
    start = time.monotonic()
    limit = session.limit_s * (1 - TRAINING_SHARE)
    ops = drive("tests.gpu._ops", _ops.items(session.is_quick), options, limit)
    left = session.limit_s - (time.monotonic() - start)
    training = drive("tests.gpu._training", SMALL_RECIPES, options, left)
    failed = [f"{r['item']}: {r['failure']}" for r in [*ops, *training] if r["failure"]]
    data = {"ops": ops, "training": training}
    if failed:
        more = f"; and {len(failed) - 1} more" if len(failed) > 1 else ""
        return Outcome(status=FAILED, reason=failed[0] + more, data=data)
    return Outcome(status=PASSED, data=data)
