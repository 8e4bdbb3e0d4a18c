# SPDX-License-Identifier: Apache-2.0
"""Step `suite`: the tests with `--backend cuda`."""

import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.gpu._steps import FAILED, PASSED, Outcome, Session, last_line, run_logged

FOLDERS = ("tests/ops", "tests/nn", "tests/losses", "tests/compat", "tests/training")
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?|deselected|xfailed|xpassed|warnings?)\b")


def command(session: Session) -> list[str]:
    """pytest's command line. Quick leaves out what is marked slow, and uses xdist where it is."""
    backend = "cuda" if session.device == "cuda" else "cpu"
    line = [sys.executable, "-m", "pytest", "--backend", backend, *FOLDERS, "-q"]
    line += ["-p", "tests.gpu._count_device_tests"]
    if session.is_quick:
        line += ["-m", "not slow"]
        if importlib.util.find_spec("xdist") is not None:
            workers = min(8, os.cpu_count() or 1)
            line += ["-n", str(workers), "-p", "no:benchmark"]  # which warns beside xdist
    return line


def run(session: Session, arguments: Sequence[str] | None = None) -> Outcome:
    """Runs `command`, or pytest with other `arguments`."""
    line = command(session)
    if arguments is not None:
        line = [sys.executable, "-m", "pytest", "-q", "-p", "tests.gpu._count_device_tests"]
        line += arguments
    with tempfile.TemporaryDirectory(prefix="fastgan-gpu-") as folder:
        log = Path(folder) / "log"
        with log.open("w") as stream:
            code = run_logged(line, stream, session.limit_s)
        text, last = log.read_text(errors="replace"), last_line(log)
    sys.stdout.write(text)
    closing = re.findall(r"^\W*(\d+ \w+.* in \d[\d.]*s.*?)\W*$", text, re.MULTILINE)
    outcome = outcome_of(text, closing[-1] if closing else last, code, session.limit_s)
    shown = " ".join(["python", *line[1:]])
    return Outcome(
        status=outcome.status,
        reason=outcome.reason,
        data={"command": shown} | dict(outcome.data),
    )


def outcome_of(text: str, last: str, code: int | None, limit_s: float) -> Outcome:
    """Passed only if something passed, nothing failed, and no test was skipped for lack of CUDA."""
    counts = {name: int(n) for n, name in _COUNT.findall(last)}
    failures = re.findall(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
    where = re.search(r"^ran on the device: .*$", text, re.MULTILINE)
    data: dict[str, Any] = {"closing_line": last, "counts": counts, "failures": failures}
    data["where"] = where[0] if where else None
    absent = re.search(r"^SKIPPED .*?(--backend cuda: .*)$", text, re.MULTILINE)
    if code is None:
        why = f"ran past {limit_s:.0f} s"
    elif code != 0:
        why = f"pytest ended with exit code {code}: {last}"
    elif absent:
        why = f"tests were skipped: {absent[1]}"
    elif not counts.get("passed"):
        why = f"no test passed: {last}"
    else:
        return Outcome(status=PASSED, data=data)
    return Outcome(status=FAILED, reason=why, data=data)
