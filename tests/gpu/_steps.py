# SPDX-License-Identifier: Apache-2.0
"""What a step is, what comes out of one, and how one is run: in a process of its own.

A CUDA error that a kernel causes stays in the process for good, and a step that hangs must end. So
every step is a child process with a time limit; whatever happens in it is written down as its
outcome, and the next step starts fresh.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"
GRACE_SECONDS = 10.0  # a step stops its own children at its limit and still writes its outcome
# Set where a process starts, because torch reads them at its first CUDA call.
ENVIRONMENT = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "FASTGAN_REQUIRE_NATIVE": "1",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True, kw_only=True)
class Session:
    """What every step is given. `limit_s` is its own; `device` is "cpu" only in tests."""

    is_quick: bool = False
    device: str = "cuda"
    limit_s: float = 3600.0
    commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """status: passed, failed or not run; reason: in words, for the last two; data: JSON values."""

    status: str
    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CheckStep:
    """`limits`: seconds in a full and in a quick run."""

    name: str
    does: str
    limits: tuple[float, float]
    run: Callable[[Session], Outcome]

    def limit_s(self, is_quick: bool) -> float:
        return self.limits[is_quick]


def run_step(name: str, session: Session, log: Path, outcome_path: Path) -> dict[str, Any]:
    """Run step `name` in a child process; its outcome with the seconds and the log's name.

    The child writes its outcome to `outcome_path`. One that ends without writing it, or that is
    still there GRACE_SECONDS after its limit, has failed. Nothing that it started outlives it.
    """
    command = [sys.executable, "-m", "tests.gpu", "--step", name]
    command += ["--session", json.dumps(asdict(session)), "--outcome", str(outcome_path)]
    start = time.monotonic()
    with log.open("w") as stream:
        code = run_logged(command, stream, session.limit_s + GRACE_SECONDS)
    seconds = time.monotonic() - start
    if outcome_path.is_file():
        outcome = json.loads(outcome_path.read_text())
    elif code is None:
        outcome = asdict(Outcome(status=FAILED, reason=f"ran past {session.limit_s:.0f} s"))
    else:
        said = f"ended with exit code {code} and no outcome: {last_line(log)}"
        outcome = asdict(Outcome(status=FAILED, reason=said))
    return {"name": name, "seconds": round(seconds, 1), "log": log.name} | outcome


def run_logged(
    command: list[str],
    stream: Any,
    limit_s: float,
    env: Mapping[str, str] | None = None,
) -> int | None:
    """Run `command` in ROOT with all it prints in `stream`; its exit code, None if it ran too long.

    It gets a session of its own, which is ended with it, so that no grandchild stays.
    """
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | ENVIRONMENT | (env or {}),
        stdout=stream,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        return child.wait(timeout=max(limit_s, 0.0))
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(child)


def _end(child: subprocess.Popen) -> None:
    """Ends the child's process group: a step is asked first, so that it ends its own children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=5.0)


def last_line(log: Path) -> str:
    """The last line that says something, cut to a readable length."""
    lines = [s.strip() for s in log.read_text(errors="replace").splitlines() if s.strip()]
    return lines[-1][:300] if lines else "it printed nothing"
