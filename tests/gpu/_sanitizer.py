# SPDX-License-Identifier: Apache-2.0
"""Step `sanitizer`: compute-sanitizer's four tools over `_awkward_shapes.py`, all at once."""

import concurrent.futures
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.gpu._steps import FAILED, NOT_RUN, PASSED, Outcome, Session, last_line, run_logged

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
ERROR_EXITCODE = 86
# Each tensor is an allocation of its own: an access past its end is one past an allocation's.
ALLOCATOR = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}


def find(environment: Mapping[str, str]) -> Path | None:
    """compute-sanitizer on the PATH, else in CUDA_HOME (CUDA_PATH, /usr/local/cuda)."""
    if found := shutil.which("compute-sanitizer", path=environment.get("PATH")):
        return Path(found)
    homes = [environment.get("CUDA_HOME"), environment.get("CUDA_PATH"), "/usr/local/cuda"]
    for home in filter(None, homes):
        for folder in ("bin", "compute-sanitizer"):
            path = Path(home) / folder / "compute-sanitizer"
            if path.is_file() and os.access(path, os.X_OK):
                return path
    return None


def command(sanitizer: Path, tool: str, session: Session) -> list[str]:
    """API errors are left out: torch probes the driver and expects some calls to fail."""
    line = [str(sanitizer), "--tool", tool, "--error-exitcode", str(ERROR_EXITCODE)]
    line += ["--report-api-errors", "no", "--target-processes", "all"]
    line += [sys.executable, "-m", "tests.gpu._awkward_shapes", "--device", session.device]
    return [*line, "--quick"] if session.is_quick else line


def run(session: Session) -> Outcome:
    sanitizer = find(os.environ)
    if sanitizer is None:
        why = "compute-sanitizer is neither on the PATH nor in CUDA_HOME; it is part of the toolkit"
        return Outcome(status=NOT_RUN, reason=why)
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(TOOLS)) as pool:
        found = list(pool.map(lambda tool: _run_tool(sanitizer, tool, session), TOOLS))
    tools = {}
    for tool, (text, outcome) in zip(TOOLS, found, strict=True):
        print(f"===== {tool} =====\n{text}", flush=True)
        tools[tool] = {"status": outcome.status, "reason": outcome.reason, **outcome.data}
    return combine(tools)


def combine(tools: Mapping[str, Mapping[str, Any]]) -> Outcome:
    """Failed if any tool failed; else passed if any passed; else not run."""
    statuses = [tool["status"] for tool in tools.values()]
    status = next(s for s in (FAILED, PASSED, NOT_RUN) if s in statuses)
    unwell = [f"{name}: {tool['reason']}" for name, tool in tools.items() if tool["reason"]]
    return Outcome(status=status, reason="; ".join(unwell), data={"tools": dict(tools)})


def _run_tool(sanitizer: Path, tool: str, session: Session) -> tuple[str, Outcome]:
    with tempfile.TemporaryDirectory(prefix="fastgan-gpu-") as folder:
        log = Path(folder) / tool
        with log.open("w") as stream:
            line = command(sanitizer, tool, session)
            code = run_logged(line, stream, session.limit_s, ALLOCATOR)
        text, last = log.read_text(errors="replace"), last_line(log)
    return text, outcome_of(text, last, code, session.limit_s)


def outcome_of(text: str, last: str, code: int | None, limit_s: float) -> Outcome:
    """Passed if the driver finished, the tool summed up, and it found nothing.

    Summaries read `ERROR SUMMARY: 0 errors` or, racecheck's, `RACECHECK SUMMARY: 0 hazards
    displayed (0 errors, 0 warnings)`.
    """
    summaries = re.findall(r"^=+ (?:ERROR|RACECHECK) SUMMARY: (.*)$", text, re.MULTILINE)
    finished = re.search(r"^samples: .*$", text, re.MULTILINE)
    ours = len(re.findall(r"^=+ +at .*\bfastgan::.*$", text, re.MULTILINE))
    data = {
        "summary": summaries[-1].strip() if summaries else None,
        "samples": finished[0] if finished else None,
        "mentions_of_fastgan": ours,
    }
    if "Device not supported" in text:
        return Outcome(status=NOT_RUN, reason="it does not support this device here", data=data)
    found = [int(n) for n in re.findall(r"(\d+) (?:errors?|hazards?|warnings?)", str(summaries))]
    if code is None:
        why = f"ran past {limit_s:.0f} s, at: {last}"
    elif any(found):
        where = f"{ours} lines name fastgan" if ours else "none names a fastgan kernel"
        why = f"{data['summary']} ({where}; see the log)"
    elif not finished:
        why = f"the samples did not finish (exit code {code}): {last}"
    elif not summaries or not found:
        why = f"it printed no summary (exit code {code}): {last}"
    elif code != 0:
        why = f"exit code {code}: {last}"
    else:
        return Outcome(status=PASSED, data=data)
    return Outcome(status=FAILED, reason=why, data=data)
